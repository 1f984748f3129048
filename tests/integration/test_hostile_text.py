"""Nobody who sends a command, a message or a file writes on an operator's screen, whatever shows it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from device_status import DeadLetters, Incidents, Lane, Producer, Settings
from device_status.cli import app
from device_status.incident import incident_key
from device_status.ledger import Ledger, gate_key
from device_status.outcomes import Claimed
from device_status_worker.intake import Intake
from device_status_worker.local import Fault, LocalCognito
from device_status_worker.local.wire import Response
from device_status_worker.log_records import PrintableRecord
from support import POOL, device, make_command, wire_object
from support.hostile import HOSTILE, INVISIBLE_USERNAME, steering
from support.servers import start_valkey
from support.terminal import run, run_at_terminal

ID = HOSTILE[-250:]
OTHER_ID = ID[::-1]
GONE = "gone" + HOSTILE
CODE = HOSTILE.replace(":", "").replace("#", "")
"""botocore cuts an error's code at these."""
OPEN = ("incident", "open", "INC-1", "--user-pool-id", POOL, "--device-file")
SEND = ("--user-pool-id", POOL, "--username", INVISIBLE_USERNAME, "--device-key", device(9))
SENT = ("send", *SEND, "--status", "remembered")


def hostile_answer(code: str) -> Fault:
    """An error of AWS, or of what stands in its place, whose text does what it can."""
    body = json.dumps({"__type": code, "message": HOSTILE})
    return Fault("hostile", Response(400, body.encode(), "application/x-amz-json-1.1"))


@pytest.fixture(scope="module")
def hostile_settings() -> Iterator[Settings]:
    with start_valkey() as valkey:
        yield Settings(broker_url=valkey.url)


@pytest.fixture(scope="module")
def environment(hostile_settings: Settings) -> Iterator[dict[str, str]]:
    """With a ledger in which everything that comes from others is hostile, and an AWS that is."""
    ledger = Ledger(hostile_settings.ledger)
    # A test that fails shows what was logged here, too.
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(PrintableRecord)
    _bury_commands(ledger, Producer(hostile_settings))
    logging.setLogRecordFactory(before)
    _open_incident(Incidents(hostile_settings))
    with LocalCognito() as cognito:
        cognito.faults.add(hostile_answer("ResourceNotFoundException"))
        yield os.environ | cognito.environment() | {"DEVICE_STATUS_BROKER_URL": hostile_settings.broker_url}


def _bury_commands(ledger: Ledger, producer: Producer) -> None:
    texts = {"incident_id": ID, "requested_by": ID, "reason": HOSTILE, "username": INVISIBLE_USERNAME}
    for number, name in enumerate((ID, OTHER_ID)):
        command = make_command(command_id=name, device_key=device(number), **texts)
        producer.enqueue(command)
        claim = ledger.claim(command, Lane.BULK)
        assert isinstance(claim, Claimed)
        ledger.dead_letter(claim, CODE, HOSTILE, HOSTILE)
    Intake(ledger).bury(HOSTILE, HOSTILE, HOSTILE.encode(), HOSTILE)


def _open_incident(incidents: Incidents) -> None:
    devices = [(INVISIBLE_USERNAME, device(2))]
    incidents.open("INC-1", user_pool_id=POOL, devices=devices, reason=HOSTILE, requested_by=HOSTILE)
    redis = incidents.ledger.redis
    redis.hset(incident_key("INC-1"), mapping={"all_users_error": HOSTILE, "webhook": HOSTILE})
    gate = gate_key(incidents.settings.target(POOL), "UserResourceUpdate")
    redis.hset(gate, mapping={"paused_until": 1 << 52, "why": HOSTILE})


@pytest.fixture
def a_file(tmp_path: Path) -> Callable[[str, str], str]:
    """Makes a file with a hostile name."""

    def make(text: str, suffix: str = "") -> str:
        # What can't stand in a file's name is a slash alone.
        path = tmp_path / (HOSTILE.replace("/", "")[:80] + suffix)
        path.write_text(text)
        return str(path)

    return make


def letter_of_a_message(settings: Settings) -> str:
    """The id of the dead letter of what is no command."""
    return next(letter.id for letter in DeadLetters(settings).list() if letter.raw)


CASES: dict[str, tuple[str, ...]] = {
    "send, refused": (*SENT, "--reason", HOSTILE, "--incident-id", HOSTILE, "--issued-at", HOSTILE),
    "send": (*SENT, "--reason", HOSTILE, "--command-id", "x" + ID[1:]),
    "send --wait": (*SENT, "--reason", HOSTILE, "--command-id", "y" + ID[1:], "--wait", "0.1"),
    "send, done before": (*SENT, "--command-id", ID, "--wait", "1"),
    "status": ("status", ID),
    "status, unknown": ("status", GONE),
    "dead-letters list": ("dead-letters", "list"),
    "dead-letters list --by-error": ("dead-letters", "list", "--by-error"),
    "dead-letters list --error": ("dead-letters", "list", "--error", GONE, "--limit", "1"),
    "dead-letters show": ("dead-letters", "show", OTHER_ID),
    "dead-letters show, a message": ("dead-letters", "show", "LETTER"),
    "dead-letters show, unknown": ("dead-letters", "show", GONE),
    "dead-letters redrive": ("dead-letters", "redrive", GONE, "LETTER"),
    "dead-letters redrive, by error": ("dead-letters", "redrive", "--error", GONE),
    "dead-letters purge": ("dead-letters", "purge", "--older-than", "1"),
    "import, CSV": ("import", "CSV"),
    "import, a header": ("import", "HEADER"),
    "import, JSON lines": ("import", "JSONL"),
    "import, unknown": ("import", GONE),
    "incident open": (*OPEN, "DEVICES"),
    "incident open, for another pool": (*OPEN[:3], "--user-pool-id", "x_0", "--device-file", "DEVICES"),
    "incident open, hostile id": ("incident", "open", ID, *OPEN[3:], "DEVICES"),
    "incident open --dry-run": ("incident", "open", "X", *OPEN[3:5], "--users", "USERS", "--dry-run"),
    "incident open, unknown": (*OPEN, GONE),
    "incident status": ("incident", "status", "INC-1"),
    "incident status, unknown": ("incident", "status", GONE),
    "incident list": ("incident", "list"),
    "incident wait": ("incident", "wait", "INC-1", "--timeout", "0.1"),
    "incident verify": ("incident", "verify", GONE),
    "incident pause": ("incident", "pause", "INC-1"),
    "incident resume": ("incident", "resume", "INC-1"),
    "incident cancel": ("incident", "cancel", GONE),
    "incident report, JSON": ("incident", "report", "INC-1"),
    "incident report, CSV": ("incident", "report", "INC-1", "--format", "csv"),
    "incident report, HTML": ("incident", "report", "INC-1", "--format", "html"),
    "incident report, unwritable": ("incident", "report", "INC-1", "--output", f"/nonexistent/{GONE}"),
    "incident check-report": ("incident", "check-report", "USERS"),
    "doctor": ("doctor", "--user-pool-id", POOL),
    "worker": ("worker", "--lane", HOSTILE),
    "usage: a value": ("incident", "open", "X", "--user-pool-id", POOL, "--status", HOSTILE),
    "usage: a number": ("send", *SEND, "--status", "remembered", "--wait", HOSTILE),
    "usage: a command": ("dead-letters", HOSTILE),
    "usage: an option": ("status", "x", f"--{HOSTILE}"),
    "usage: an argument": ("status", "x", HOSTILE),
    "not UTF-8": ("status", "\udcff"),
}
"""Command lines by what they try; words in capitals stand for what a test makes."""
JSON_CASES = {
    name: (*arguments, "--json")
    for name, arguments in CASES.items()
    # Those that write JSON; their errors go the same way as without it.
    if arguments[0] in ("status", "dead-letters", "import", "incident", "doctor")
    and not name.startswith(("incident report", "incident check", "usage", "import, a header"))
    and not any(word.startswith("gone") for word in arguments)
}


@pytest.fixture
def filled(
    hostile_settings: Settings, a_file: Callable[[str, str], str]
) -> Callable[[tuple[str, ...]], list[str]]:
    """Puts what the words in capitals stand for into a command line."""
    good = wire_object(username=INVISIBLE_USERNAME)
    made = {
        "LETTER": lambda: letter_of_a_message(hostile_settings),
        "CSV": lambda: a_file(
            f"user_pool_id,username,device_key,status\n{HOSTILE.replace(chr(34), '')}\n", ".csv"
        ),
        "HEADER": lambda: a_file(f"user_pool_id,username,device_key,{CODE}\n1,2,3,4\n", ".csv"),
        "JSONL": lambda: a_file(
            "".join(json.dumps(good | {HOSTILE[n:]: 1}) + "\n" for n in range(0, 250, 50)), ".jsonl"
        ),
        "DEVICES": lambda: a_file(
            f"{json.dumps(good)}\n{json.dumps(good | {'username': HOSTILE})}\n", ".jsonl"
        ),
        "USERS": lambda: a_file(f"{INVISIBLE_USERNAME}\n{HOSTILE}\n", ".txt"),
    }
    return lambda arguments: [made[word]() if word in made else word for word in arguments]


Fill = Callable[[tuple[str, ...]], list[str]]


@pytest.mark.parametrize("arguments", CASES.values(), ids=CASES)
def test_a_pipe_carries_nothing_that_steers(
    arguments: tuple[str, ...], environment: dict[str, str], filled: Fill
) -> None:
    done = run(environment, *filled(arguments))
    assert "Traceback" not in done.stderr
    # What separates columns, and ends the lines of a CSV.
    shown = done.stdout.replace("\t", "").replace("\r\n", "\n") + done.stderr
    assert steering(shown) == []
    assert done.stdout + done.stderr


@pytest.mark.parametrize("arguments", CASES.values(), ids=CASES)
def test_nothing_steers_a_terminal(
    arguments: tuple[str, ...], environment: dict[str, str], filled: Fill
) -> None:
    shown = run_at_terminal(environment, *filled(arguments), columns=4000, given="n\n")
    assert "Traceback" not in shown
    assert steering(shown, at_terminal=True, live=True) == []
    assert "[red]r[/red]" in shown or "[red]r" not in shown


@pytest.mark.parametrize("arguments", JSON_CASES.values(), ids=JSON_CASES)
def test_json_steers_no_terminal_either(
    arguments: tuple[str, ...], environment: dict[str, str], filled: Fill
) -> None:
    done = run(environment, *filled(arguments))
    assert steering(done.stdout + done.stderr) == []
    if done.stdout.strip():
        json.loads(done.stdout)


def test_json_holds_what_was_there_to_the_letter(environment: dict[str, str]) -> None:
    told = json.loads(run(environment, "dead-letters", "show", OTHER_ID, "--json").stdout)
    assert (told["error_code"], told["error_message"], told["username"]) == (
        CODE,
        HOSTILE,
        INVISIBLE_USERNAME,
    )
    assert told["command"]["reason"] == HOSTILE


def test_what_was_there_is_seen(environment: dict[str, str]) -> None:
    shown = run(environment, "status", OTHER_ID).stdout
    for escape in (r"\x1b[2J", r"\x07", r"\u202e", r"\x9b", r"\u2028", r"\u200b", "[red]r[/red]"):
        assert escape in shown


def test_every_command_is_tried_here() -> None:
    def names(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        for name, each in getattr(command, "commands", {}).items():
            yield from names(each, (*path, name))
        if not hasattr(command, "commands"):
            yield path

    tried = {
        arguments[: len(path)] for arguments in CASES.values() for path in names(typer.main.get_command(app))
    }
    assert set(names(typer.main.get_command(app))) <= tried
