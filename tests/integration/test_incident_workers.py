"""An incident with real workers: killed, watched from the command line, and told to a webhook."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from device_status import Incidents
from device_status.incident import Phase, incident_key
from device_status_worker.local import Fault
from support.clock import let_time_pass
from support.incidents import counters, make_users, recount, statuses
from support.site import Site
from support.waiting import eventually

QUOTA = 200


class Receiver(ThreadingHTTPServer):
    """Takes notices; refuses the first."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.notices: list[tuple[str, bytes]] = []

    @property
    def url(self) -> str:
        """Where notices go."""
        return f"http://127.0.0.1:{self.server_port}/incident?token=secret-of-the-url"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.notices.append((self.headers["Device-Status-Signature"], body))
        self.send_response(500 if len(self.server.notices) == 1 else 204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        yield receiver
        receiver.shutdown()


@pytest.fixture(scope="module")
def site(receiver: Receiver) -> Iterator[Site]:
    with Site(
        update_quota=str(QUOTA),
        read_quota=str(QUOTA),
        incident_webhook=receiver.url,
        incident_webhook_secret="hunter2",
    ) as site:
        for _ in range(2):
            site.start_worker()
        for worker in site.workers:
            worker.wait_until_ready()
        yield site


@pytest.fixture
def incidents(site: Site) -> Incidents:
    site.restart_dead_workers()
    return Incidents(site.settings)


def run(site: Site, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("device-status")
    environment = os.environ | {"DEVICE_STATUS_BROKER_URL": site.valkey.url, "NO_COLOR": "1"}
    return subprocess.run(
        [command, *arguments],
        input=text,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def updates(site: Site, pool: str) -> int:
    return sum(request.operation == "AdminUpdateDeviceStatus" for request in site.requests_for(pool))


def test_a_worker_killed_in_the_middle_changes_nothing_in_the_result(
    site: Site, incidents: Incidents
) -> None:
    users = {f"user-{number}": number % 8 for number in range(80)} | {"many": 130}
    pool = make_users(site.cognito, users)
    total = sum(users.values())
    incidents.open("KILLED", user_pool_id=pool, users=[*users, "nobody"])
    eventually(lambda: incidents.progress("KILLED").succeeded > total // 4, "a quarter is done")
    site.workers[0].kill()
    assert counters(incidents.progress("KILLED"))["open"] >= 0
    # What the dead worker held comes back when its leases and its messages' time are over.
    eventually(lambda: site.cognito.requests[-1].at, "requests")
    site.workers[0].start()

    def is_over() -> bool:
        if incidents.progress("KILLED").is_over:
            return True
        let_time_pass(site.client, 5)
        return False

    eventually(is_over, "the incident is over", 90)
    progress = incidents.progress("KILLED")
    assert counters(progress) == recount(site.ledger, "KILLED")
    assert statuses(site.cognito, pool) == {"not_remembered": total}
    assert (progress.devices, progress.succeeded, progress.users_dead_lettered) == (total, total, 1)

    asked = updates(site, pool)
    incidents.open("KILLED", user_pool_id=pool, users=[*users, "nobody"])
    assert incidents.progress("KILLED").phase is Phase.ENDED
    assert updates(site, pool) == asked


def test_a_worker_that_stops_gives_its_listings_back(site: Site, incidents: Incidents) -> None:
    pool = make_users(site.cognito, {f"user-{number}": 1 for number in range(40)})
    slow = site.cognito.faults.add(Fault.delay(0.5), operation="AdminListDevices")
    incidents.open("STOPPED", user_pool_id=pool, users=[f"user-{number}" for number in range(40)])
    eventually(lambda: slow.hits > 4, "listings are under way")
    for worker in site.workers:
        worker.send_signal(signal.SIGTERM)
    assert [worker.wait() for worker in site.workers] == [0, 0]
    held = [json.loads(each) for each in site.client.hvals(incident_key("STOPPED", "working"))]
    assert not [each for each in held if each["owner"]], "a listing waits for its lease"
    site.cognito.faults.clear()
    site.restart_dead_workers()
    eventually(lambda: incidents.progress("STOPPED").is_over, "another worker goes on", 30)
    assert incidents.progress("STOPPED").all_succeeded


def test_the_end_is_told_to_the_webhook_once_and_signed(
    site: Site, incidents: Incidents, receiver: Receiver
) -> None:
    pool = make_users(site.cognito, {"ada": 1})
    incidents.open("TOLD", user_pool_id=pool, users=["ada"])
    eventually(lambda: incidents.progress("TOLD").webhook == "delivered", "the notice is delivered")
    mine = [(signature, body) for signature, body in receiver.notices if b'"TOLD:1"' in body]
    signature, body = mine[-1]
    told = dict(part.split("=", 1) for part in signature.split(","))
    expected = hmac.new(b"hunter2", told["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert told["v1"] == expected
    notice = json.loads(body)
    assert (notice["type"], notice["incident"]["succeeded"]) == ("incident.ended", 1)
    assert b"ada" not in body
    # One that was refused was sent again; one that was taken was not.
    assert len(mine) <= 2
    log = "".join(worker.output for worker in site.workers)
    assert "secret-of-the-url" not in log


def test_a_responder_at_the_command_line(site: Site, incidents: Incidents, tmp_path: Path) -> None:
    pool = make_users(site.cognito, {"ada": 2, "grace": 61, "linus": 0})
    text = "ada\r\n\ngrace\nlinus\nnot a name\n"

    plan = run(
        site, "incident", "open", "INC-42", "--user-pool-id", pool, "--users", "-", "--dry-run",
        "--count-devices", "--json", text=text,
    )  # fmt: skip
    assert json.loads(plan.stdout) == {
        "users": 3,
        "users_without_devices": 1,
        "users_that_can't_be_listed": 0,
        "devices": 63,
        "update_requests": 63,
        "list_requests_at_least": 3,
        "seconds_at_the_quota": 3,
    }
    assert "line 5: username: " in plan.stderr
    assert "not a name" not in plan.stderr
    assert statuses(site.cognito, pool) == {"remembered": 63}

    opened = run(
        site, "incident", "open", "INC-42", "--user-pool-id", pool, "--users", "-", "--urgent",
        "--reason", "stolen laptops", "--requested-by", "eve@example.com", text="ada\ngrace\nlinus\na b\n",
    )  # fmt: skip
    assert opened.returncode == 1
    assert "line 4: username: " in opened.stderr
    waited = run(site, "incident", "wait", "INC-42", "--timeout", "60", "--json")
    assert waited.returncode == 0
    ended = json.loads(waited.stdout)
    assert (ended["succeeded"], ended["refused"]) == (63, 1)
    watched = run(site, "incident", "status", "INC-42", "--watch")
    assert (watched.returncode, "phase\tended" in watched.stdout) == (0, True)
    assert "INC-42\tended" in run(site, "incident", "list").stdout

    verified = run(site, "incident", "verify", "INC-42", "--timeout", "60", "--json")
    assert (verified.returncode, json.loads(verified.stdout)["as_ordered"]) == (0, 63)
    site.cognito.add_device(pool, "ada")
    assert run(site, "incident", "verify", "INC-42", "--timeout", "60").returncode == 1

    for kind in ("json", "csv", "html"):
        file = tmp_path / f"report.{kind}"
        written = run(site, "incident", "report", "INC-42", "--format", kind, "--output", str(file))
        assert (written.returncode, written.stdout) == (0, "")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "stolen laptops" in file.read_text()
        if kind != "html":
            checked = run(site, "incident", "check-report", str(file))
            assert checked.stdout.strip() in written.stderr
            # Whoever edits it can make one that passes.
            assert "who can edit the file can compute a new one" in checked.stderr
    full = run(site, "incident", "report", "INC-42", "--output", "/dev/full")
    assert (full.returncode, full.stderr.strip()) == (
        2, "device-status: /dev/full: can't be written: No space left on device",
    )  # fmt: skip
    (tmp_path / "report.json").write_text((tmp_path / "report.json").read_text().replace("ada", "eve"))
    broken = run(site, "incident", "check-report", str(tmp_path / "report.json"))
    assert broken.returncode == 1
    assert "Traceback" not in broken.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["status", "NONE"], 1, "no incident NONE"),
        (["report", "NONE"], 1, "no incident NONE"),
        (["verify", "NONE"], 1, "no incident NONE"),
        (["cancel", "NONE", "--yes"], 1, "no incident NONE"),
        (["open", "X", "--user-pool-id", "us-east-1_X"], 2, "give one of"),
        (["open", "X", "--user-pool-id", "nowhere", "--all-users"], 1, "user_pool_id: "),
        (["open", "X", "--user-pool-id", "us-east-1_X", "--users", ""], 2, "can't be read"),
        (["open", "X", "--user-pool-id", "us-east-1_X", "--users", "/nonexistent"], 2, "can't be read"),
        (["check-report", "/dev/null"], 1, "is not a JSON or CSV report"),
    ],
)
def test_bad_input_gets_one_clear_line(site: Site, arguments: list[str], code: int, text: str) -> None:
    result = run(site, "incident", *arguments)
    assert result.returncode == code
    (line,) = result.stderr.strip().splitlines()
    assert text in line
