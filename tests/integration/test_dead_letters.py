"""Promises to operators: nothing that failed is out of sight, and all of it can be given another life."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from device_status import DeadLetters, DeviceStatusError, Incidents, Lane, Producer, Settings, State
from device_status.dead_letters import NotRedrivableError
from device_status.incident import incident_key
from device_status.ledger import PREFIX, Ledger, command_key, parse_stored
from device_status.outcomes import Claimed
from support import POOL, USERNAME, device, make_command
from support.broker import queue_length, take_commands
from support.clock import let_time_pass
from support.servers import HOST, free_port

Die = Callable[..., str]


@pytest.fixture
def dead_letters(settings: Settings) -> DeadLetters:
    return DeadLetters(settings)


@pytest.fixture
def die(ledger: Ledger) -> Die:
    """Lets a command die as a worker would; says its command id."""

    def die(code: str = "UserNotFoundException", lane: Lane = Lane.ROUTINE, **fields: Any) -> str:
        command = make_command(**fields)
        claim = ledger.claim(command, lane)
        assert isinstance(claim, Claimed)
        ledger.dead_letter(claim, code, f"why {code}", "request-1")
        return command.command_id

    return die


def bury_messages(ledger: Ledger, count: int, code: str = "NotJson", start: int = 0) -> None:
    """Messages that are no command."""
    for number in range(start, start + count):
        ledger.scripts.run("bury", [], f"message-{number}", code, "no JSON", "{", "device-status.bulk")


def shut_out(ledger: Ledger) -> str:
    """A dead letter by conflict; says its command id."""
    ledger.enter([make_command(idempotency_key="one")], Lane.ROUTINE)
    other = make_command(idempotency_key="one", status="remembered")
    ledger.enter([other], Lane.ROUTINE)
    return other.command_id


class TestListing:
    def test_the_newest_come_first(self, dead_letters: DeadLetters, die: Die, ledger: Ledger) -> None:
        ids = []
        for _ in range(3):
            ids.append(die())
            let_time_pass(ledger.redis, 1)
        assert [letter.command_id for letter in dead_letters.list()] == ids[::-1]

    def test_more_than_a_page_are_all_listed_once(self, dead_letters: DeadLetters, ledger: Ledger) -> None:
        bury_messages(ledger, 1_203)
        ids = [letter.id for letter in dead_letters.list()]
        assert len(ids) == 1_203
        assert set(ids) == {f"message-{number}" for number in range(1_203)}

    def test_a_full_last_page_ends_the_list(self, dead_letters: DeadLetters, ledger: Ledger) -> None:
        bury_messages(ledger, 1_000)
        assert len(list(dead_letters.list())) == 1_000

    @pytest.mark.parametrize("limit", [0, 1, 5, 600])
    def test_a_limit_is_kept(self, dead_letters: DeadLetters, ledger: Ledger, limit: int) -> None:
        bury_messages(ledger, 601)
        assert len(list(dead_letters.list(limit=limit))) == limit

    def test_they_are_found_by_error_code(self, dead_letters: DeadLetters, die: Die, ledger: Ledger) -> None:
        bury_messages(ledger, 700)
        wanted = die("ResourceNotFoundException", device_key=device(1))
        bury_messages(ledger, 100, start=700)
        letters = list(dead_letters.list(error_code="ResourceNotFoundException", limit=10))
        assert [letter.command_id for letter in letters] == [wanted]

    def test_they_are_found_by_incident(
        self, dead_letters: DeadLetters, die: Die, ledger: Ledger, settings: Settings
    ) -> None:
        for number, incident_id in enumerate(("INC-1", "INC-2"), start=1):
            Incidents(settings).open(incident_id, user_pool_id=POOL, devices=[(USERNAME, device(number))])
            (key,) = ledger.redis.lrange(incident_key(incident_id, "devices"), 0, -1)
            command = parse_stored(ledger.redis.hget(command_key(key), "command"))
            assert command is not None
            claim = ledger.claim(command, Lane.BULK)
            assert isinstance(claim, Claimed)
            ledger.dead_letter(claim, "UserNotFoundException", "why")
        # A producer's word is a note, and makes a command no part of an incident.
        die(incident_id="INC-1", device_key=device(3))
        found = list(dead_letters.list(incident_id="INC-1"))
        assert [letter.command.device_key for letter in found if letter.command] == [device(1)]
        assert list(dead_letters.list(incident_id="INC-1", error_code="Other")) == []

    def test_none_are_none(self, dead_letters: DeadLetters) -> None:
        assert list(dead_letters.list()) == []
        assert dead_letters.count_by_error() == {}

    def test_they_are_counted_by_error_the_most_first(
        self, dead_letters: DeadLetters, die: Die, ledger: Ledger
    ) -> None:
        die("ResourceNotFoundException", device_key=device(1))
        bury_messages(ledger, 3)
        shut_out(ledger)
        shut_out(ledger)
        counts = dead_letters.count_by_error()
        assert list(counts.items()) == [
            ("NotJson", 3),
            ("IdempotencyConflict", 2),
            ("ResourceNotFoundException", 1),
        ]

    def test_what_is_redriven_while_it_is_listed_makes_none_be_skipped(
        self, dead_letters: DeadLetters, ledger: Ledger, redis_url: str
    ) -> None:
        """`for letter in list(...): redrive(letter.id)` is how all of one error are redriven."""
        commands = [make_command(device_key=device(number)) for number in range(600)]
        ledger.enter(commands, Lane.BULK)
        for command in commands:
            claim = ledger.claim(command, Lane.BULK)
            assert isinstance(claim, Claimed)
            ledger.dead_letter(claim, "UserNotFoundException", "why")
        for letter in dead_letters.list(error_code="UserNotFoundException"):
            dead_letters.redrive(letter.id)
        assert list(dead_letters.list()) == []
        assert queue_length(redis_url, Lane.BULK) == 600


class TestShowing:
    def test_a_command_is_shown_with_its_reason(self, dead_letters: DeadLetters, ledger: Ledger) -> None:
        command = make_command(reason="lost phone")
        for last in (False, True):
            claim = ledger.claim(command, Lane.URGENT)
            assert isinstance(claim, Claimed)
            if last:
                ledger.dead_letter(claim, "RetriesExhausted", "gave up", "request-2")
            else:
                ledger.retry(claim, 0, "InternalErrorException", "why", attempt=True)
                let_time_pass(ledger.redis, 60)
        letter = dead_letters.show(command.command_id)
        assert letter is not None
        assert (letter.error_code, letter.error_message) == ("RetriesExhausted", "gave up")
        assert (letter.command, letter.lane, letter.attempts) == (command, Lane.URGENT, 2)
        assert (letter.request_id, letter.raw, letter.queue) == ("request-2", None, None)
        assert timedelta(seconds=60) <= letter.last_at - letter.first_at < timedelta(seconds=70)

    def test_it_is_found_by_its_command_id_under_another_key(
        self, dead_letters: DeadLetters, die: Die
    ) -> None:
        command_id = die(idempotency_key="order-17")
        letter = dead_letters.show(command_id)
        assert letter is not None
        assert (letter.id, letter.command_id) == ("order-17", command_id)

    def test_a_conflict_is_found_by_the_command_id_of_the_second(
        self, dead_letters: DeadLetters, ledger: Ledger
    ) -> None:
        command_id = shut_out(ledger)
        letter = dead_letters.show(command_id)
        assert letter is not None
        assert (letter.error_code, letter.command_id) == ("IdempotencyConflict", command_id)

    def test_a_message_that_is_no_command_is_shown_as_it_came(
        self, dead_letters: DeadLetters, ledger: Ledger
    ) -> None:
        bury_messages(ledger, 1)
        letter = dead_letters.show("message-0")
        assert letter is not None
        assert (letter.raw, letter.queue) == ("{", "device-status.bulk")
        assert (letter.command, letter.command_id, letter.lane) == (None, None, None)
        assert letter.first_at == letter.last_at

    def test_what_is_unknown_or_alive_is_none(self, dead_letters: DeadLetters, ledger: Ledger) -> None:
        alive = make_command(idempotency_key="one")
        ledger.enter([alive], Lane.ROUTINE)
        assert dead_letters.show("no such letter") is None
        assert dead_letters.show(alive.command_id) is None

    def test_the_same_message_again_is_one_dead_letter(
        self, dead_letters: DeadLetters, ledger: Ledger
    ) -> None:
        bury_messages(ledger, 1)
        bury_messages(ledger, 1)
        assert dead_letters.count_by_error() == {"NotJson": 1}

    def test_its_dict_is_json_and_holds_the_whole_command(self, dead_letters: DeadLetters, die: Die) -> None:
        letter = dead_letters.show(die())
        assert letter is not None
        assert letter.command is not None
        assert letter.to_dict()["command"] == letter.command.to_wire()

    def test_a_shown_letter_holds_no_personal_data(self, dead_letters: DeadLetters, die: Die) -> None:
        letter = dead_letters.show(die())
        assert letter is not None
        assert letter.command is not None
        assert letter.command.username not in repr(letter)


class TestRedriving:
    def test_it_gives_another_life_with_no_attempts(
        self, dead_letters: DeadLetters, die: Die, producer: Producer
    ) -> None:
        command_id = die()
        assert dead_letters.redrive(command_id) == command_id
        record = producer.lookup(command_id)
        assert record is not None
        assert (record.state, record.attempts, record.error_code) == (State.QUEUED, 0, None)
        assert dead_letters.show(command_id) is None
        assert dead_letters.count_by_error() == {}

    def test_it_is_published_in_its_lane(self, dead_letters: DeadLetters, die: Die, redis_url: str) -> None:
        command_id = die(lane=Lane.BULK)
        dead_letters.redrive(command_id)
        assert [command["command_id"] for command in take_commands(redis_url, Lane.BULK)] == [command_id]

    def test_the_next_attempt_is_the_first(self, dead_letters: DeadLetters, ledger: Ledger, die: Die) -> None:
        command_id = die()
        dead_letters.redrive(command_id)
        record = ledger.lookup(command_id)
        assert record is not None
        assert record.command is not None
        claim = ledger.claim(record.command, Lane.ROUTINE)
        assert isinstance(claim, Claimed)
        assert (claim.attempts, claim.age) == (0, 0)
        ledger.succeed(claim, "r")
        record = ledger.lookup(command_id)
        assert record is not None
        assert record.outcome is State.SUCCEEDED

    def test_a_message_published_before_does_not_end_the_new_life(
        self, dead_letters: DeadLetters, ledger: Ledger
    ) -> None:
        command = make_command()
        claim = ledger.claim(command, Lane.ROUTINE)
        assert isinstance(claim, Claimed)
        ledger.dead_letter(claim, "UserNotFoundException", "why")
        dead_letters.redrive(command.command_id)
        again = ledger.claim(command, Lane.ROUTINE)
        assert isinstance(again, Claimed)
        ledger.dead_letter(claim, "UserNotFoundException", "said twice")
        record = ledger.lookup(command.command_id)
        assert record is not None
        assert record.state is State.CLAIMED

    def test_it_may_be_named_by_command_id_under_another_key(
        self, dead_letters: DeadLetters, die: Die
    ) -> None:
        command_id = die(idempotency_key="order-17")
        assert dead_letters.redrive(command_id) == command_id

    def test_one_can_die_and_be_redriven_again_and_again(
        self, dead_letters: DeadLetters, ledger: Ledger, die: Die
    ) -> None:
        command_id = die()
        for lives in (1, 2, 3):
            dead_letters.redrive(command_id)
            record = ledger.lookup(command_id)
            assert record is not None
            assert record.command is not None
            claim = ledger.claim(record.command, Lane.ROUTINE)
            assert isinstance(claim, Claimed)
            ledger.dead_letter(claim, "UserNotFoundException", f"life {lives}")
            letter = dead_letters.show(command_id)
            assert letter is not None
            assert letter.error_message == f"life {lives}"
        assert dead_letters.count_by_error() == {"UserNotFoundException": 1}

    def test_a_conflict_is_not_redrivable(self, dead_letters: DeadLetters, ledger: Ledger) -> None:
        command_id = shut_out(ledger)
        with pytest.raises(NotRedrivableError, match="another command holds its idempotency key"):
            dead_letters.redrive(command_id)
        assert dead_letters.show(command_id) is not None

    def test_a_message_that_is_no_command_is_not_redrivable(
        self, dead_letters: DeadLetters, ledger: Ledger
    ) -> None:
        bury_messages(ledger, 1)
        with pytest.raises(NotRedrivableError, match="NotJson"):
            dead_letters.redrive("message-0")
        assert dead_letters.show("message-0") is not None

    def test_what_is_unknown_is_a_key_error(self, dead_letters: DeadLetters) -> None:
        with pytest.raises(KeyError):
            dead_letters.redrive("no such letter")

    def test_a_redriven_command_is_not_redriven_twice(self, dead_letters: DeadLetters, die: Die) -> None:
        command_id = die()
        dead_letters.redrive(command_id)
        with pytest.raises(KeyError):
            dead_letters.redrive(command_id)

    def test_with_the_broker_away_it_waits_in_the_ledger(
        self, settings: Settings, die: Die, ledger: Ledger
    ) -> None:
        command_id = die()
        away = settings.model_copy(
            update={"broker_url": f"redis://{HOST}:{free_port()}/0", "ledger_url": settings.broker_url}
        )
        with pytest.raises(Exception, match="did not take the message"):
            DeadLetters(away).redrive(command_id)
        assert ledger.open_count()[Lane.ROUTINE] == 1

    def test_with_the_broker_away_the_error_is_one_of_the_packages(
        self, settings: Settings, die: Die
    ) -> None:
        away = settings.model_copy(
            update={"broker_url": f"redis://{HOST}:{free_port()}/0", "ledger_url": settings.broker_url}
        )
        with pytest.raises(DeviceStatusError):
            DeadLetters(away).redrive(die())

    def test_one_whose_entry_has_expired_is_not_lost_with_the_broker_away(
        self, settings: Settings, die: Die, ledger: Ledger
    ) -> None:
        """Entry and dead letter are kept equally long, but only a running sweeper removes the letter."""
        command_id = die()
        let_time_pass(ledger.redis, (settings.retention + timedelta(minutes=1)).total_seconds())
        away = settings.model_copy(
            update={"broker_url": f"redis://{HOST}:{free_port()}/0", "ledger_url": settings.broker_url}
        )
        with pytest.raises(Exception, match="did not take the message"):
            DeadLetters(away).redrive(command_id)
        assert ledger.lookup(command_id) or DeadLetters(settings).show(command_id)

    def test_an_old_letter_never_ends_the_life_of_a_newer_command_under_its_key(
        self, settings: Settings, dead_letters: DeadLetters, die: Die, ledger: Ledger
    ) -> None:
        """The letter outlived its entry, and the key was used anew: that command's outcome stays."""
        die(command_id="one")
        let_time_pass(ledger.redis, (settings.retention + timedelta(minutes=1)).total_seconds())
        again = make_command(command_id="one")
        claim = ledger.claim(again, Lane.ROUTINE)
        assert isinstance(claim, Claimed)
        ledger.succeed(claim, "r")
        with suppress(KeyError, NotRedrivableError):
            dead_letters.redrive("one")
        record = ledger.lookup("one")
        assert record is not None
        assert record.outcome is State.SUCCEEDED


class TestPurging:
    def test_all_are_removed_for_good(self, dead_letters: DeadLetters, ledger: Ledger, die: Die) -> None:
        bury_messages(ledger, 1_100)
        command_id = die()
        assert dead_letters.purge() == 1_101
        assert list(dead_letters.list()) == []
        assert dead_letters.count_by_error() == {}
        assert dead_letters.show(command_id) is None
        assert ledger.redis.keys(f"{PREFIX}dead*") == []

    def test_only_the_older_ones_where_an_age_is_given(
        self, dead_letters: DeadLetters, ledger: Ledger
    ) -> None:
        bury_messages(ledger, 3)
        let_time_pass(ledger.redis, 3_600)
        bury_messages(ledger, 2, start=3)
        assert dead_letters.purge(older_than=timedelta(minutes=61)) == 0
        assert dead_letters.purge(older_than=timedelta(minutes=59)) == 3
        assert {letter.id for letter in dead_letters.list()} == {"message-3", "message-4"}
        assert dead_letters.count_by_error() == {"NotJson": 2}

    def test_the_outcome_of_a_purged_command_is_still_known(
        self, dead_letters: DeadLetters, producer: Producer, die: Die
    ) -> None:
        command_id = die()
        dead_letters.purge()
        record = producer.lookup(command_id)
        assert record is not None
        assert (record.outcome, record.error_code) == (State.DEAD_LETTERED, "UserNotFoundException")
