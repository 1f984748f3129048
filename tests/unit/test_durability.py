"""Promises of DEVICE_STATUS_DURABILITY that need no server."""

from __future__ import annotations

from importlib.resources import files

import pytest
import redis

from device_status import SettingsError, load_settings
from device_status.durability import WAITED_FOR, Durability
from device_status.scripts import ANSWER_TIMEOUT
from device_status.server_states import is_about_data, state_of, what_to_do

DONE_AGAIN_IF_LOST = {
    "received": "the claim that follows it on the same connection's server is waited for",
    "listing_claim": "another worker lists the user too, and the commands have the same ids",
    "listing_settle": "the user is listed again when the lease is over",
    "pool_page": "the page is read again when its lease is over",
    "verify_page": "the user is listed again, since what follows it is lost as well",
    "webhook": "the notice is sent again, with the same id",
    "webhook_settle": "the notice is sent again, with the same id",
    "lead": "two sweep for some seconds",
    "sweep": "what was due is due again",
    "watermark": "the mark is published again",
    "mark": "the mark is published again",
    "forget": "the next round does it",
    "forgotten": "the next round does it",
    "release_fences": "the next round does it",
    "pull_in": "the next round does it",
    "clock_step": "the worker's log has it as well",
    "register": "the next renewal, five seconds later, does it",
    "deregister": "the entry vanishes by itself",
}
"""The scripts that nobody waits for, with the reason."""
ARE_NO_SCRIPTS = {"prelude", "prelude_incident", "marker"}


def test_each_script_is_waited_for_or_there_is_a_reason_why_not() -> None:
    scripts = {file.name.removesuffix(".lua") for file in files("device_status").joinpath("lua").iterdir()}
    assert scripts - ARE_NO_SCRIPTS == WAITED_FOR | DONE_AGAIN_IF_LOST.keys()
    assert not WAITED_FOR & DONE_AGAIN_IF_LOST.keys()


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("memory", ()),
        ("fsync", ("WAITAOF", 1, 0, 3000)),
        ("replica", ("WAIT", 1, 3000)),
        ("replica:1", ("WAIT", 1, 3000)),
        ("replica:9", ("WAIT", 9, 3000)),
    ],
)
def test_each_level_waits_by_its_own_command(text: str, command: tuple[str | int, ...]) -> None:
    assert load_settings(durability=text).required_durability.command == command


def test_by_default_nothing_is_waited_for() -> None:
    assert load_settings().required_durability.command == ()


@pytest.mark.parametrize(
    "text", ["", "disk", "replica:", "replica:0", "replica:10", "fsync:1", "memory ", "REPLICA"]
)
def test_anything_else_is_refused_in_one_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(durability=text)
    assert str(caught.value) == (
        "DEVICE_STATUS_DURABILITY: must be memory, fsync, replica, or replica:N with N from 1 to 9"
    )
    monkeypatch.setenv("DEVICE_STATUS_DURABILITY", "none")
    with pytest.raises(SettingsError, match="DEVICE_STATUS_DURABILITY: must be memory"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "answer", "is_confirmed"),
    [
        ("fsync", [1, 0], True),
        ("fsync", [0, 2], False),
        ("replica", 0, False),
        ("replica", 1, True),
        ("replica", 3, True),
        ("replica:2", 1, False),
        ("replica:2", 2, True),
        ("fsync", 1, False),
        ("fsync", [], False),
        ("fsync", "OK", False),
        ("replica", [1], False),
        ("replica", None, False),
    ],
)
def test_fewer_than_were_asked_for_confirm_nothing(text: str, answer: object, is_confirmed: bool) -> None:
    assert Durability.parse(text).is_confirmed_by(answer) is is_confirmed


@pytest.mark.parametrize("text", ["fsync", "replica"])
def test_the_server_gives_up_before_the_client_does(text: str) -> None:
    assert Durability.parse(text).command[-1] < 1000 * ANSWER_TIMEOUT - 500


@pytest.mark.parametrize(
    ("text", "what_helps"),
    [
        ("unknown command `WAITAOF`, with args beginning with: `1`, ", "needs Redis 7.2 or later"),
        ("unknown command 'WAITAOF', with args beginning with: '1' ", "needs Redis 7.2 or later"),
        ("unknown command 'WAIT', with args beginning with: '1' ", "no command renamed or forbidden"),
        ("WAITAOF cannot be used when numlocal is set but appendonly is disabled.", "needs appendonly yes"),
        ("WAIT cannot be used with replica instances. Please also note …", "let the URL lead to the primary"),
        (
            "WAITAOF cannot be used with replica instances. Please also note …",
            "let the URL lead to the primary",
        ),
    ],
)
def test_what_a_server_answers_to_the_wait_says_what_to_do(text: str, what_helps: str) -> None:
    """The texts of Redis 6.2 (with grave accents) to 8, and of Valkey."""
    error = redis.ResponseError(text)
    assert what_helps in str(what_to_do(error))
    assert not is_about_data(error)


def test_a_primary_that_became_a_replica_is_left() -> None:
    state = state_of(redis.ResponseError("WAIT cannot be used with replica instances."))
    assert state
    assert state.elsewhere
