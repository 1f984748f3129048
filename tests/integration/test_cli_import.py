"""Promises of `device-status import`: the good lines are sent, once; the bad ones are named by number."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from device_status import Lane, State
from device_status.cli.files.lines import LONGEST
from support import device, wire_object
from support.broker import queue_length, take_commands
from support.commands import DEVICE_KEY, POOL, USERNAME
from support.servers import HOST, Valkey, free_port
from support.site import Site
from support.terminal import run, run_at_terminal
from support.waiting import eventually

COLUMNS = ("user_pool_id", "username", "device_key", "status")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site(update_quota="500") as site:
        site.start_worker().wait_until_ready()
        yield site


def as_csv(commands: list[dict[str, Any]], columns: tuple[str, ...] = COLUMNS) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(commands)
    return text.getvalue()


def as_jsonl(commands: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(command) + "\n" for command in commands)


def some(count: int) -> list[dict[str, Any]]:
    """Commands for as many devices."""
    return [wire_object(device_key=device(number)) for number in range(count)]


def summary(text: str) -> dict[str, int]:
    heads, counts = (line.split("\t") for line in text.splitlines())
    return dict(zip(heads, map(int, counts), strict=True))


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_is_sent_and_done(suffix: str, site: Site, tmp_path: Path) -> None:
    pool = site.make_pool("ada", 'zoë,"the-2nd"')
    commands = site.make_devices(pool, 5, "ada") + site.make_devices(pool, 5, 'zoë,"the-2nd"')
    file = tmp_path / f"devices.{suffix}"
    file.write_text(as_csv(commands) if suffix == "csv" else as_jsonl(commands))
    done = run(site.environment, "import", str(file), "--lane", "urgent")
    assert (done.returncode, done.stderr) == (0, "")
    head = int(suffix == "csv")
    counts = {
        "lines": 10,
        "accepted": 10,
        "repeated": 0,
        "refused": 0,
        "header": head,
        "blank": 0,
        "continued": 0,
    }
    assert summary(done.stdout) == counts
    eventually(lambda: not any(site.ledger.open_count().values()), "all have an outcome")
    assert [site.status_of(command) for command in commands] == ["not_remembered"] * 10

    again = run(site.environment, "import", str(file), "--lane", "urgent")
    assert again.returncode == 0
    assert summary(again.stdout) == counts | {"accepted": 0, "repeated": 10}
    assert "--import-id" in again.stderr
    site.fence(Lane.URGENT)
    assert len(site.requests_for(pool)) == 10


def test_of_two_lines_for_one_device_the_later_wins(site: Site, tmp_path: Path) -> None:
    command = site.make_command()
    lines = [
        {name: command[name] for name in COLUMNS} | {"status": status}
        for status in ("remembered", "not_remembered", "remembered")
    ]
    file = tmp_path / "devices.csv"
    file.write_text(as_csv(lines))
    done = run(site.environment, "import", str(file), "--import-id", command["command_id"])
    assert done.returncode == 0
    ids = [f"import:{command['command_id']}:{number}" for number in (2, 3, 4)]
    states = [record.state for record in site.outcomes(ids)]
    assert states[2] is State.SUCCEEDED
    assert set(states) <= {State.SUCCEEDED, State.SUPERSEDED}
    assert site.status_of(command) == "remembered"


class TestStandardInput:
    @pytest.mark.parametrize("given", [as_csv(some(3)), as_jsonl(some(3))], ids=["CSV", "JSONL"])
    def test_is_read_and_its_import_named(
        self, given: str, environment: dict[str, str], redis_url: str
    ) -> None:
        done = run(environment, "import", "-", given=given)
        assert done.returncode == 0
        assert summary(done.stdout)["accepted"] == 3
        (import_id,) = re.findall(r"^import id: (\w+)$", done.stderr, re.MULTILINE)
        sent = take_commands(redis_url, Lane.BULK)
        assert [each["device_key"] for each in sent] == [device(number) for number in range(3)]

        again = run(environment, "import", "-", "--import-id", import_id, "--json", given=given)
        told = json.loads(again.stdout)
        assert (told["accepted"], told["repeated"], told["import_id"]) == (0, 3, import_id)

    def test_without_a_header_nothing_is_sent(self, environment: dict[str, str], redis_url: str) -> None:
        headless = as_csv(some(3)).split("\n", 1)[1]
        done = run(environment, "import", "-", "--import-id", "x", given=headless)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert "line 1 must be a header: missing columns: user_pool_id" in line
        assert USERNAME not in line
        assert queue_length(redis_url, Lane.BULK) == 0


class TestDefaults:
    def test_fill_what_lines_do_not_give(self, environment: dict[str, str], redis_url: str) -> None:
        given = f"username,device_key,reason\nada,{device(1)},\ngrace,{device(2)},lost\n"
        options = ["--user-pool-id", POOL, "--status", "remembered", "--reason", "stolen"]
        done = run(
            environment, "import", "-", *options, "--requested-by", "eve", "--incident-id", "INC-1",
            given=given,
        )  # fmt: skip
        assert done.returncode == 0
        first, second = take_commands(redis_url, Lane.BULK)
        assert (first["user_pool_id"], first["status"], first["reason"]) == (POOL, "remembered", "stolen")
        assert (second["reason"], second["requested_by"]) == ("lost", "eve")
        assert second["incident_id"] == "INC-1"


BAD_CSV = {
    3: (f"{POOL},{USERNAME},{DEVICE_KEY},gone\n".encode(), "status: "),
    4: (f"{POOL},{USERNAME},{DEVICE_KEY}\n".encode(), "has 3 cells; the header has 4"),
    5: (f"{POOL},{USERNAME},,remembered\n".encode(), "device_key: is missing"),
    6: (b"\xff\xfe,a,b,c\n", "is not UTF-8"),
    7: (b"x" * (LONGEST + 1) + b"\n", f"longer than {LONGEST} characters"),
    8: (f'{POOL},"{USERNAME}"x,{DEVICE_KEY},remembered\n'.encode(), "is not valid CSV"),
    9: (f'{POOL},"ada\nlovelace",{DEVICE_KEY},remembered\n'.encode(), "username: "),  # On two lines.
    # Line 11 is empty, and 12 is good.
    13: (f'{POOL},"{USERNAME}'.encode(), "quote that is not closed"),
}
BAD_JSONL = {
    3: (b"{\n", "is not JSON"),
    4: (b"[1]\n", "is not a JSON object"),
    5: (b'{"status": "remembered", "status": "remembered"}\n', "repeats a field"),
    6: (json.dumps(wire_object(colour="red")).encode() + b"\n", "colour: "),
    7: (json.dumps(wire_object(username=...)).encode() + b"\n", "username: is missing"),
    8: (json.dumps(wire_object(username=7)).encode() + b"\n", "username: "),
    9: (b"[" * 10_000 + b"\n", "is nested too deeply"),
    10: (b"\xff\n", "is not UTF-8"),
    # Line 11 is empty, and 12 is good.
}


def with_bad_lines(kind: str) -> bytes:
    """Good ones are the second and the twelfth line, and with JSON the first."""
    good, head = (as_csv(some(2)).encode().splitlines(keepends=True)[1:], as_csv([]).encode())
    bad = BAD_CSV
    if kind == "jsonl":
        good, head, bad = as_jsonl(some(2)).encode().splitlines(keepends=True), good_json(2), BAD_JSONL
    middle = b"".join(line for number, (line, _) in bad.items() if number < 12)
    return head + good[0] + middle + b"\n" + good[1] + b"".join(bad[n][0] for n in bad if n > 12)


def good_json(number: int) -> bytes:
    return as_jsonl([wire_object(device_key=device(number))]).encode()


@pytest.mark.parametrize("options", [[], ["--dry-run"]], ids=["sent", "checked"])
def test_reserved_ids_are_refused(options: list[str], environment: dict[str, str]) -> None:
    commands = [wire_object(command_id="incident:INC-1:0123"), wire_object(idempotency_key="repair:1")]
    done = run(environment, "import", "-", "--json", *options, given=as_jsonl(commands))
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["accepted"], told["refused"]) == (0, 2)
    assert [refusal["reason"].split(":")[0] for refusal in told["refusals"]] == [
        "command_id",
        "idempotency_key",
    ]


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
class TestBadLines:
    def test_are_named_by_number_and_the_good_ones_sent(
        self, kind: str, bom: bytes, environment: dict[str, str], redis_url: str, tmp_path: Path
    ) -> None:
        file = tmp_path / f"devices.{kind}"
        file.write_bytes(bom + with_bad_lines(kind))
        bad = BAD_CSV if kind == "csv" else BAD_JSONL
        done = run(environment, "import", str(file), "--json")
        told = json.loads(done.stdout)
        assert done.returncode == 1
        assert (told["refused"], told["dry_run"]) == (len(bad), False)
        assert [each["line"] for each in told["refusals"]] == list(bad)
        for refusal in told["refusals"]:
            assert bad[refusal["line"]][1] in refusal["reason"]
        assert done.stderr.splitlines() == [
            f"line {each['line']}: {each['reason']}" for each in told["refusals"]
        ]
        for secret in (USERNAME, DEVICE_KEY, "lovelace"):
            assert secret not in done.stdout + done.stderr
        keys = [each["device_key"] for each in take_commands(redis_url, Lane.BULK)]
        assert keys == [device(number) for number in ([0, 1] if kind == "csv" else [2, 0, 1])]
        assert told["accepted"] == len(keys)

    def test_are_named_by_a_dry_run_that_sends_nothing(
        self, kind: str, bom: bytes, environment: dict[str, str], tmp_path: Path
    ) -> None:
        file = tmp_path / f"devices.{kind}"
        file.write_bytes(bom + with_bad_lines(kind))
        # With no server to send to, so that it can't.
        away = {"DEVICE_STATUS_BROKER_URL": f"redis://{HOST}:{free_port()}/0"}
        done = run(environment | away, "import", str(file), "--dry-run")
        bad = BAD_CSV if kind == "csv" else BAD_JSONL
        assert done.returncode == 1
        good = 2 if kind == "csv" else 3
        assert summary(done.stdout) == {
            "lines": good + len(bad),
            "accepted": good,
            "repeated": 0,
            "refused": len(bad),
            "header": int(kind == "csv"),
            "blank": 1,
            "continued": int(kind == "csv"),
        }
        assert [int(line.split()[1].rstrip(":")) for line in done.stderr.splitlines()] == list(bad)


class TestServersAway:
    def test_it_is_one_line_and_says_how_to_go_on(
        self, environment: dict[str, str], redis_url: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "devices.csv"
        file.write_text(as_csv(some(3)))
        away = {
            "DEVICE_STATUS_BROKER_URL": f"redis://{HOST}:{free_port()}/0",
            "DEVICE_STATUS_LEDGER_URL": redis_url,
        }
        failed = run(environment | away, "import", str(file))
        assert (failed.returncode, failed.stdout) == (4, "")
        (line,) = failed.stderr.splitlines()
        (import_id,) = re.findall(r"the same import with --import-id (\w+) goes on", line)

        done = run(environment, "import", str(file), "--import-id", import_id)
        assert done.returncode == 0
        keys = [each["device_key"] for each in take_commands(redis_url, Lane.BULK)]
        assert sorted(keys) == [device(number) for number in range(3)]

    def test_a_ledger_that_hangs_is_told(
        self, environment: dict[str, str], valkey: Valkey, tmp_path: Path
    ) -> None:
        file = tmp_path / "devices.jsonl"
        file.write_text(as_jsonl(some(3)))
        valkey.freeze()
        try:
            failed = run(environment, "import", str(file))
        finally:
            valkey.thaw()
        assert (failed.returncode, failed.stdout) == (4, "")
        (line,) = failed.stderr.splitlines()
        assert "goes on and repeats nothing" in line


def test_a_terminal_sees_progress_and_a_pipe_does_not(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "devices.jsonl"
    file.write_text(as_jsonl(some(5000)))
    shown = run_at_terminal(environment, "import", str(file))
    assert "sending" in shown
    assert re.search(r"\d lines", shown)
    assert "5000" in shown
    assert run(environment, "import", str(file), "--dry-run").stderr == ""
