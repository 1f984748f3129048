"""Promises of `device-status`: data on stdout, the rest on stderr, one clear line for what is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from device_status import DeadLetters, Lane, Producer, Settings, State
from device_status.cli import app
from device_status.ledger import Ledger
from device_status_worker.local import EmbeddedValkey, Fault
from support import make_command, wire_object
from support.broker import queue_length
from support.commands import USERNAME
from support.servers import HOST, SilentServer, free_port
from support.site import Site
from support.terminal import COMMAND, run, run_at_terminal
from support.waiting import eventually

COLOUR = re.compile(r"\x1b\[[\d;]*3\dm")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site(update_quota="500") as site:
        site.start_worker().wait_until_ready()
        yield site


def options(fields: dict[str, Any]) -> list[str]:
    """Fields of a command as options of `send`."""
    return [part for name, value in fields.items() for part in (f"--{name.replace('_', '-')}", value)]


def rows(table: str) -> list[list[str]]:
    """Of a table in a pipe, below its heads."""
    return [line.split("\t") for line in table.splitlines()[1:]]


def fields_of(table: str) -> dict[str, str]:
    return dict(rows(table))


class TestSend:
    def test_prints_the_id_alone(self, environment: dict[str, str], producer: Producer) -> None:
        done = run(environment, "send", *options(wire_object()), "--lane", "urgent", "--reason", "stolen")
        assert (done.returncode, done.stderr) == (0, "")
        record = producer.lookup(done.stdout.removesuffix("\n"))
        assert record is not None
        assert record.command is not None
        assert (record.state, record.lane, record.command.reason) == (State.QUEUED, "urgent", "stolen")

    def test_waits_for_success(self, site: Site) -> None:
        command = site.make_command()
        done = run(site.environment, "send", *options(command), "--wait", "40")
        assert (done.returncode, done.stderr) == (0, "")
        shown = fields_of(done.stdout)
        assert (shown["command_id"], shown["outcome"]) == (command["command_id"], "succeeded")
        assert shown["username"] == command["username"]
        assert site.status_of(command) == "not_remembered"

    def test_tells_why_not_and_exits_with_1(self, site: Site) -> None:
        command = site.make_command() | {"username": "nobody"}
        done = run(site.environment, "send", *options(command), "--wait", "40", "--json")
        shown = json.loads(done.stdout)
        assert (done.returncode, done.stderr) == (1, "")
        assert (shown["outcome"], shown["error_code"]) == ("dead_lettered", "UserNotFoundException")
        assert shown["command"]["username"] == "nobody"

    def test_reads_the_username_from_standard_input(
        self, environment: dict[str, str], producer: Producer
    ) -> None:
        given = options(wire_object(username="-"))
        done = run(environment, "send", *given, "--json", given="zoë k\N{COMBINING ACUTE ACCENT}\n")
        assert done.returncode == 1
        assert "username" in done.stderr  # A space is none of the letters that AWS allows.
        done = run(environment, "send", *given, "--json", given="zoë\n")
        assert done.returncode == 0
        record = producer.lookup(json.loads(done.stdout)["command_id"])
        assert record is not None
        assert record.command is not None
        assert record.command.username == "zoë"

    def test_a_key_that_belongs_to_another_is_1(self, site: Site) -> None:
        first, second = site.make_command(), site.make_command()
        for ours in ({"command_id": first["command_id"]}, {"idempotency_key": first["command_id"]}):
            run(site.environment, "send", *options(first))
            sent = run(site.environment, "send", *options(second | ours), "--wait", "30")
            assert (sent.returncode, sent.stdout) == (1, "")
            assert sent.stderr.startswith(
                "device-status: refused: idempotency_key: belongs to a command with"
            )
            assert len(sent.stderr.splitlines()) == 1
            assert site.status_of(second) == "remembered"
        again = run(site.environment, "send", *options(first), "--wait", "30")
        assert again.returncode == 0

    def test_no_outcome_in_time_is_5(self, environment: dict[str, str]) -> None:
        done = run(environment, "send", *options(wire_object(command_id="x-1")), "--wait", "0.1")
        assert (done.returncode, done.stdout) == (5, "")
        assert done.stderr == "device-status: x-1: no outcome after 0.1 s\n"

    def test_ctrl_c_is_one_line(self, environment: dict[str, str], redis_url: str) -> None:
        arguments = ["send", *options(wire_object(command_id="x-1")), "--wait", "60"]
        with subprocess.Popen(
            [COMMAND, *arguments], env=environment, stderr=subprocess.PIPE, text=True
        ) as sending:
            try:
                eventually(lambda: queue_length(redis_url, Lane.ROUTINE) == 1, "it is sent")
                sending.send_signal(signal.SIGINT)
                _, shown = sending.communicate(timeout=40)
            finally:
                sending.kill()
        assert (sending.returncode, shown) == (130, "device-status: interrupted\n")


class TestStatus:
    def test_shows_what_became_of_a_command(self, site: Site) -> None:
        command = site.make_command()
        site.producer.enqueue(command)
        record = site.outcome(command["command_id"])
        done = run(site.environment, "status", command["command_id"], "--json")
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == record.to_dict()
        shown = fields_of(run(site.environment, "status", command["command_id"]).stdout)
        assert (shown["state"], shown["request_id"]) == ("succeeded", record.request_id)

    def test_an_unknown_one_is_1(self, environment: dict[str, str]) -> None:
        done = run(environment, "status", "no-such", "--json")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("device-status: no command no-such: ")


class TestDeadLetters:
    @pytest.fixture
    def dead(self, site: Site) -> dict[str, Any]:
        """A command whose user does not exist: the one dead letter."""
        DeadLetters(site.settings).purge()
        command = site.make_command() | {"username": f"late-{uuid.uuid4()}"}
        site.producer.enqueue(command)
        assert site.outcome(command["command_id"]).state is State.DEAD_LETTERED
        return command

    def test_are_listed_shown_and_counted(self, site: Site, dead: dict[str, Any]) -> None:
        listed = run(site.environment, "dead-letters", "list", "--json")
        (letter,) = json.loads(listed.stdout)
        assert (listed.returncode, listed.stderr) == (0, "")
        assert (letter["command_id"], letter["error_code"]) == (dead["command_id"], "UserNotFoundException")
        ((shown_id, code, attempts, *_),) = rows(run(site.environment, "dead-letters", "list").stdout)
        assert (shown_id, code, attempts) == (letter["id"], "UserNotFoundException", "1")
        shown = run(site.environment, "dead-letters", "show", dead["command_id"], "--json")
        assert json.loads(shown.stdout) == letter
        as_table = fields_of(run(site.environment, "dead-letters", "show", letter["id"]).stdout)
        assert (as_table["username"], as_table["request_id"]) == (dead["username"], letter["request_id"])
        counted = run(site.environment, "dead-letters", "list", "--by-error", "--json")
        assert json.loads(counted.stdout) == {"UserNotFoundException": 1}

    def test_are_listed_by_error_and_up_to_a_limit(self, site: Site, dead: dict[str, Any]) -> None:
        del dead
        other = site.make_command() | {"device_key": "us-east-1_0-0"}
        site.producer.enqueue(other)
        site.outcome(other["command_id"])
        limited = run(site.environment, "dead-letters", "list", "--limit", "1")
        ((_, code, *_),) = rows(limited.stdout)
        assert code == "ResourceNotFoundException"
        assert limited.stderr == "there are more; --limit shows them\n"
        found = run(site.environment, "dead-letters", "list", "--error", "UserNotFoundException")
        assert [row[1] for row in rows(found.stdout)] == ["UserNotFoundException"]
        assert found.stderr == ""

    def test_a_redriven_one_is_done(self, site: Site, dead: dict[str, Any]) -> None:
        site.cognito.add_user(dead["user_pool_id"], dead["username"])
        site.cognito.add_device(dead["user_pool_id"], dead["username"], dead["device_key"])
        done = run(site.environment, "dead-letters", "redrive", "--error", "UserNotFoundException", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == {"redriven": [dead["command_id"]], "refused": {}}
        assert site.outcome(dead["command_id"]).state is State.SUCCEEDED
        assert rows(run(site.environment, "dead-letters", "list").stdout) == []

    def test_what_can_not_be_redriven_is_told_and_the_rest_is_done(
        self, site: Site, dead: dict[str, Any]
    ) -> None:
        marker = f"marker-{uuid.uuid4()}"
        site.push(f"{{{marker}".encode())
        letter = eventually(lambda: site.letter_with(marker), "the message is a dead letter")
        assert letter is not None
        done = run(
            site.environment, "dead-letters", "redrive", "no-such", letter.id, dead["command_id"], "--json"
        )
        told = json.loads(done.stdout)
        assert done.returncode == 1
        assert told["redriven"] == [dead["command_id"]]
        assert list(told["refused"]) == ["no-such", letter.id]
        as_lines = run(site.environment, "dead-letters", "redrive", "no-such")
        assert (as_lines.returncode, as_lines.stderr) == (1, "no dead letter no-such\n")
        # As it dies once more, and the next test must find none.
        eventually(lambda: site.dead_letters.show(dead["command_id"]), "it is dead again")

    def test_are_purged_when_it_is_confirmed(self, site: Site, dead: dict[str, Any]) -> None:
        asked = run(site.environment, "dead-letters", "purge", given="n\n")
        assert (asked.returncode, asked.stdout.strip()) == (130, "")
        assert "Remove up to 1 dead letters for good?" in asked.stderr
        assert site.dead_letters.show(dead["command_id"])
        done = run(site.environment, "dead-letters", "purge", "--yes", "--json")
        assert (done.returncode, json.loads(done.stdout)) == (0, {"removed": 1})
        assert site.dead_letters.show(dead["command_id"]) is None


class TestDoctor:
    @staticmethod
    def findings(environment: dict[str, str], *arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
        """Exit code, and the last finding of each check."""
        done = run(environment, "doctor", *arguments, "--json")
        assert done.stderr == ""
        found = json.loads(done.stdout)
        return done.returncode, {each["check"]: (each["level"], each["finding"]) for each in found}

    def test_finds_nothing_wrong_where_nothing_is(self, site: Site, tmp_path: Path) -> None:
        with EmbeddedValkey(data_dir=tmp_path, append_only=True) as server:
            healthy = site.environment | {
                "DEVICE_STATUS_BROKER_URL": server.url,
                "DEVICE_STATUS_LEDGER_URL": server.url,
            }
            code, found = self.findings(healthy, "--user-pool-id", site.make_pool())
            assert code == 0, found
            assert {check: level for check, (level, _) in found.items()} == {
                "ledger": "ok",
                "workers": "ok",
                "broker": "ok",
                "AWS": "ok",
            }
            # Without a pool it asks who it is.
            code, found = self.findings(healthy)
            assert code == 0, found
            assert "account 123456789012" in found["AWS"][1]

    def test_work_that_waits_for_a_worker_is_a_warning(
        self, environment: dict[str, str], producer: Producer, site: Site
    ) -> None:
        assert self.findings(environment)[1]["workers"][0] == "ok"
        producer.enqueue(wire_object())
        level, finding = self.findings(environment)[1]["workers"]
        assert (level, "start one: device-status worker" in finding) == ("warning", True)
        assert "running: worker0@test; " in self.findings(site.environment)[1]["workers"][1]

    def test_warnings_are_1(self, site: Site) -> None:
        code, found = self.findings(site.environment, "--user-pool-id", site.make_pool())
        assert code == 1
        assert found["ledger"][0] == "warning"

    def test_a_missing_permission_is_4_and_named(self, site: Site) -> None:
        for operation, level, code in [
            ("AdminUpdateDeviceStatus", "error", 4),
            ("AdminListDevices", "warning", 1),
        ]:
            fault = site.cognito.faults.add(Fault.error("AccessDeniedException"), operation=operation)
            try:
                found = self.findings(site.environment, "--user-pool-id", site.make_pool())
            finally:
                site.cognito.faults.remove(fault)
            assert found[0] == code
            assert found[1]["AWS"][0] == level
            assert f"grant cognito-idp:{operation}" in found[1]["AWS"][1]

    def test_an_unknown_pool_is_4(self, site: Site) -> None:
        shown = run(site.environment, "doctor", "--user-pool-id", "us-east-1_unknown")
        assert shown.returncode == 4
        assert ["AWS", "error"] in [row[:2] for row in rows(shown.stdout)]
        assert "check --user-pool-id" in shown.stdout

    def test_changes_nothing(self, site: Site) -> None:
        command = site.make_command()
        run(site.environment, "doctor", "--user-pool-id", command["user_pool_id"])
        assert site.requests_for(command["user_pool_id"])
        assert site.status_of(command) == "remembered"

    def test_servers_that_are_away_are_4(self, site: Site) -> None:
        away = {
            "DEVICE_STATUS_BROKER_URL": f"redis://:hunter2@{HOST}:{free_port()}/0",
            "DEVICE_STATUS_LEDGER_URL": f"redis://{HOST}:{free_port()}/0",
        }
        code, found = self.findings(site.environment | away, "--user-pool-id", site.make_pool())
        assert code == 4
        assert (found["ledger"][0], found["broker"][0], found["AWS"][0]) == ("error", "error", "ok")
        assert "hunter2" not in str(found)


def test_worker_takes_only_its_lane_and_ends_in_order(site: Site, redis_url: str, tmp_path: Path) -> None:
    environment = site.environment | {
        "DEVICE_STATUS_BROKER_URL": redis_url,
        "DEVICE_STATUS_LEDGER_URL": redis_url,
    }
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [COMMAND, "worker", "--lane", "urgent", "--concurrency", "3", "--name", "alone@test"],
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        eventually(lambda: "alone@test ready." in log.read_text(), "the worker is ready", 60)
        assert re.search(r"concurrency: +3\b", log.read_text())
        routine, urgent = site.make_command(), site.make_command()
        run(environment, "send", *options(routine))
        done = run(environment, "send", *options(urgent), "--lane", "urgent", "--wait", "40")
        assert done.returncode == 0
        state = fields_of(run(environment, "status", routine["command_id"]).stdout)["state"]
        assert state == "queued"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    finally:
        worker.kill()
        worker.wait()


class TestWhatIsWrongIsOneLine:
    @pytest.mark.parametrize(
        ("arguments", "code", "text"),
        [
            (["send", *options(wire_object(user_pool_id="nowhere"))], 1, "user_pool_id: "),
            (["send", *options(wire_object(issued_at="yesterday"))], 1, "issued_at: "),
            (["incident", "open", "X", "--user-pool-id", "us-east-1_X", "--users", "-"], 2, "names nobody"),
            (["import", "/nonexistent"], 2, "can't be read"),
            (["dead-letters", "show", "no-such"], 1, "no dead letter no-such"),
            (["dead-letters", "redrive"], 2, "--incident ID, or --all"),
            (["incident", "status", "X:users"], 1, "no incident X:users"),
            (["dead-letters", "redrive", "one", "--all"], 2, "--incident ID, or --all"),
        ],
        ids=lambda value: value[-1] if isinstance(value, list) else str(value),
    )
    def test_input(
        self, arguments: list[str], code: int, text: str, environment: dict[str, str], settings: Settings
    ) -> None:
        done = run(environment, *arguments)
        assert (done.returncode, done.stdout) == (code, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("device-status: ")
        assert text in line
        assert USERNAME not in line
        assert list(DeadLetters(settings).list()) == []

    @pytest.mark.parametrize(
        "arguments",
        [
            ["nope"],
            ["send"],
            ["send", *options(wire_object(status="gone"))],
            ["status"],
            ["send", *options(wire_object()), "--wait", "nan"],
            ["dead-letters", "purge", "--older-than", "1e12"],
            ["dead-letters", "purge", "--older-than", "nan"],
            ["incident", "wait", "X", "--timeout", "inf"],
        ],
    )
    def test_usage_is_2_and_names_the_help(self, arguments: list[str], environment: dict[str, str]) -> None:
        done = run(environment, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "--help" in done.stderr
        assert "Error: " in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize("arguments", [["status", "x"], ["worker"], ["doctor"], ["dead-letters", "list"]])
    def test_a_wrong_setting_is_3(self, arguments: list[str], environment: dict[str, str]) -> None:
        done = run(environment | {"DEVICE_STATUS_UPDATE_QUOTA": "many"}, *arguments)
        assert (done.returncode, done.stdout) == (3, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("device-status: DEVICE_STATUS_UPDATE_QUOTA: ")

    @pytest.mark.parametrize(
        "arguments",
        [
            ["send", *options(wire_object())],
            ["status", "x"],
            ["dead-letters", "list"],
            ["dead-letters", "redrive", "--all"],
            ["dead-letters", "purge", "--yes"],
        ],
        ids=lambda arguments: " ".join(arguments[:2]),
    )
    def test_a_ledger_that_is_away_is_4(self, arguments: list[str], environment: dict[str, str]) -> None:
        url = f"redis://:hunter2@{HOST}:{free_port()}/0"
        done = run(environment | {"DEVICE_STATUS_LEDGER_URL": url}, *arguments)
        assert (done.returncode, done.stdout) == (4, "")
        (line,) = done.stderr.splitlines()
        assert "DEVICE_STATUS_LEDGER_URL" in line
        assert "hunter2" not in line

    def test_a_broker_that_is_away_is_4(self, environment: dict[str, str]) -> None:
        ledger = environment["DEVICE_STATUS_BROKER_URL"]
        away = {
            "DEVICE_STATUS_BROKER_URL": f"redis://:hunter2@{HOST}:{free_port()}/0",
            "DEVICE_STATUS_LEDGER_URL": ledger,
        }
        done = run(environment | away, "send", *options(wire_object()))
        assert (done.returncode, done.stdout) == (4, "")
        (line,) = done.stderr.splitlines()
        assert "broker" in line
        assert "hunter2" not in line
        assert USERNAME not in line

    def test_a_ledger_that_hangs_is_4(self, environment: dict[str, str]) -> None:
        with SilentServer() as server:
            done = run(environment | {"DEVICE_STATUS_LEDGER_URL": server.url}, "status", "x")
        assert (done.returncode, done.stdout) == (4, "")
        (line,) = done.stderr.splitlines()
        assert "hunter2" not in line


class TestOutput:
    def test_colours_are_for_terminals_without_no_color(self, environment: dict[str, str]) -> None:
        environment.pop("NO_COLOR", None)
        shown = run_at_terminal(environment, "status", "no-such")
        assert "no command no-such" in shown
        assert COLOUR.search(shown)
        shown = run_at_terminal(environment | {"NO_COLOR": "1"}, "status", "no-such")
        assert "no command no-such" in shown
        assert not COLOUR.search(shown)
        assert "\x1b" not in run(environment, "status", "no-such").stderr

    def test_a_terminal_gets_a_table_for_people(
        self, environment: dict[str, str], producer: Producer
    ) -> None:
        producer.enqueue(wire_object(command_id="[red]x-1"))
        shown = run_at_terminal(environment, "status", "[red]x-1")
        assert re.search(r"command_id *│ *\[red\]x-1", shown)

    def test_a_narrow_terminal_cuts_nothing(self, environment: dict[str, str], settings: Settings) -> None:
        names = [f"0190f2d4-7c1e-7000-8000-{number:012}" for number in range(2)]
        for name, status in zip(names, ("remembered", "not_remembered"), strict=True):
            # As a worker enters what came without our package.
            command = make_command(command_id=name, idempotency_key="one", status=status)
            Ledger.of(settings).enter([command], Lane.ROUTINE)
        (letter,) = DeadLetters(settings).list()
        shown = run_at_terminal(environment, "dead-letters", "list", columns=80)
        assert letter.id in shown
        assert "…" not in shown

    def test_a_reader_that_has_seen_enough_is_no_error(self, environment: dict[str, str]) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        try:
            done = subprocess.run(
                [COMMAND, "dead-letters", "list"],
                env=environment,
                stdout=writer,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        finally:
            os.close(writer)
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize(
        "command",
        [
            "",
            *("send", "import", "status", "worker", "doctor"),
            *(f"dead-letters {verb}" for verb in ("list", "show", "redrive", "purge")),
            *(f"incident {verb}" for verb in ("open", "list", "wait", "report", "verify")),
        ],
    )
    def test_each_help_explains_the_exit_codes(self, command: str) -> None:
        shown = CliRunner().invoke(app, [*command.split(), "--help"])
        assert shown.exit_code == 0
        assert "Exit codes: 0 done" in shown.stdout
