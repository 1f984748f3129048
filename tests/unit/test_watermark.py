"""How lost messages are told from queued ones: lua/watermark.lua, mark.lua and sweep.lua.

No message is sent here. What a broker would do with a mark is what the test says: it comes, or not, now or
an hour later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from device_status import DeviceStatusCommand, Lane, State
from device_status.ledger import LEASE, PREFIX, Ledger, own_ms
from device_status.outcomes import Claimed
from support import device, make_command
from support.clock import let_time_pass, server_ms

GRACE, IN_HAND, AGAIN = 30, 20, 10
"""Seconds."""
ISSUED: datetime = datetime.now(UTC) - timedelta(minutes=1)


@dataclass
class Road:
    """One lane's sweeper, and the clock."""

    ledger: Ledger
    lane: Lane = Lane.BULK

    def queue(self, *numbers: int) -> list[DeviceStatusCommand]:
        """Enter commands, each for a device of its own."""
        commands = [
            make_command(command_id=f"command-{number}", device_key=device(number), issued_at=ISSUED)
            for number in numbers
        ]
        self.ledger.enter(commands, self.lane)
        return commands

    def look(self) -> list[Any]:
        """A round of the sweeper looks at its watermark."""
        keys = [f"{PREFIX}watermark:{self.lane}", f"{PREFIX}queued:{self.lane}"]
        answer = self.ledger.scripts.run("watermark", keys, GRACE * 1000, IN_HAND * 1000, AGAIN * 1000)
        return list(answer)

    def publish_mark(self) -> int:
        """The round that publishes a mark, at the server's time now; says the mark."""
        before = server_ms(self.ledger.redis)
        kind, mark = self.look()
        assert kind == "publish"
        assert before <= mark <= server_ms(self.ledger.redis)
        return int(mark)

    def receive(self, mark: int) -> None:
        """A worker receives a mark."""
        self.ledger.scripts.run("mark", [f"{PREFIX}watermark:{self.lane}"], mark)

    def receive_current_mark(self) -> None:
        """A worker receives the lane's mark; read from the record, since time that passed moved it there."""
        self.receive(self.ledger.redis.hget(f"{PREFIX}watermark:{self.lane}", "mark"))

    def sweep(self, lost_before: int = 0, most: int = 500) -> set[str]:
        """Keys of the commands that a round publishes again."""
        texts = self.ledger.scripts.run("sweep", [], self.lane, most, lost_before, own_ms())
        return {DeviceStatusCommand.model_validate_json(text).idempotency_key for text in texts}

    def look_and_sweep(self, most: int = 500) -> set[str]:
        """A whole round of the sweeper."""
        kind, *mark = self.look()
        return self.sweep(mark[0] if kind == "passed" else 0, most)

    def claim(self, command: DeviceStatusCommand) -> Claimed:
        """A worker claims."""
        result = self.ledger.claim(command, self.lane)
        assert isinstance(result, Claimed)
        return result

    def pass_time(self, seconds: float) -> None:
        let_time_pass(self.ledger.redis, seconds)


@pytest.fixture
def road(ledger: Ledger) -> Road:
    return Road(ledger)


@pytest.fixture
def marked(road: Road) -> Road:
    """Commands 1 and 2 were queued long ago, a mark was published behind them, then 3 was queued."""
    road.queue(1, 2)
    road.pass_time(GRACE + 1)
    road.publish_mark()
    road.pass_time(1)
    road.queue(3)
    return road


class TestWhenAMarkIsPublished:
    def test_an_empty_lane_needs_none(self, road: Road) -> None:
        assert road.look() == ["idle"]

    def test_young_commands_need_none(self, road: Road) -> None:
        road.queue(1, 2)
        road.pass_time(GRACE - 5)
        assert road.look() == ["idle"]

    def test_an_old_command_gets_one_behind_it(self, road: Road) -> None:
        road.queue(1)
        road.pass_time(GRACE + 1)
        oldest = road.ledger.redis.zscore(f"{PREFIX}queued:{road.lane}", "command-1")
        assert road.publish_mark() > oldest

    def test_one_is_under_way_at_a_time(self, marked: Road) -> None:
        assert marked.look() == ["waiting"]

    def test_one_that_does_not_come_is_published_again_with_its_old_time(self, marked: Road) -> None:
        marked.pass_time(AGAIN + 1)
        kept = int(marked.ledger.redis.hget(f"{PREFIX}watermark:{marked.lane}", "mark"))
        assert marked.look() == ["publish", kept]
        assert marked.look() == ["waiting"]

    def test_each_lane_has_its_own(self, marked: Road) -> None:
        other = Road(marked.ledger, Lane.URGENT)
        assert other.look() == ["idle"]
        assert marked.look() == ["waiting"]

    def test_a_lane_that_was_emptied_forgets_its_mark(self, marked: Road) -> None:
        for number in (1, 2, 3):
            command = make_command(
                command_id=f"command-{number}", device_key=device(number), issued_at=ISSUED
            )
            marked.ledger.succeed(marked.claim(command), "r")
        marked.pass_time(AGAIN + 1)
        assert marked.look() == ["idle"]
        assert not marked.ledger.redis.exists(f"{PREFIX}watermark:{marked.lane}")


class TestABacklogIsNotTouched:
    def test_however_long_it_waits_behind_others(self, marked: Road) -> None:
        for _ in range(20):
            marked.pass_time(AGAIN + 3600)
            kind, *_ = marked.look()
            assert kind == "publish"
            assert marked.sweep() == set()

    def test_what_was_queued_after_the_mark_is_still_on_its_way(self, marked: Road) -> None:
        marked.receive_current_mark()
        marked.pass_time(IN_HAND + 1)
        assert marked.look_and_sweep() == {"command-1", "command-2"}

    def test_what_was_received_is_left_in_hand_for_a_while(self, marked: Road) -> None:
        marked.receive_current_mark()
        marked.pass_time(IN_HAND - 5)
        assert marked.look() == ["waiting"]

    def test_what_was_claimed_in_that_time_is_not_lost(self, marked: Road) -> None:
        marked.receive_current_mark()
        claimed = make_command(command_id="command-1", device_key=device(1), issued_at=ISSUED)
        marked.claim(claimed)
        marked.pass_time(IN_HAND + 1)
        assert marked.look_and_sweep() == {"command-2"}

    def test_a_producer_that_repeats_a_command_puts_it_behind_the_mark(self, marked: Road) -> None:
        marked.queue(1)
        marked.receive_current_mark()
        marked.pass_time(IN_HAND + 1)
        assert marked.look_and_sweep() == {"command-2"}

    def test_what_was_queued_in_the_marks_own_millisecond_may_stand_behind_it(self, road: Road) -> None:
        road.queue(1)
        queued_at = int(road.ledger.redis.zscore(f"{PREFIX}queued:{road.lane}", "command-1"))
        assert road.sweep(lost_before=queued_at) == set()
        assert road.sweep(lost_before=queued_at + 1) == {"command-1"}

    def test_a_mark_that_is_not_the_current_one_says_nothing(self, marked: Road) -> None:
        marked.receive(1)
        marked.pass_time(IN_HAND + 1)
        kind, *_ = marked.look()
        assert kind == "publish"

    def test_a_mark_that_comes_after_the_lane_was_emptied_says_nothing(self, marked: Road) -> None:
        mark = marked.ledger.redis.hget(f"{PREFIX}watermark:{marked.lane}", "mark")
        marked.ledger.redis.delete(f"{PREFIX}queued:{marked.lane}")
        marked.pass_time(AGAIN + 1)
        assert marked.look() == ["idle"]
        marked.receive(int(mark))
        assert not marked.ledger.redis.exists(f"{PREFIX}watermark:{marked.lane}")


class TestALostMessageIsFound:
    def test_once_its_mark_has_come_and_the_time_in_hand_is_over(self, marked: Road) -> None:
        marked.receive_current_mark()
        marked.pass_time(IN_HAND + 1)
        kind, mark = marked.look()
        assert kind == "passed"
        assert marked.sweep(mark) == {"command-1", "command-2"}

    def test_and_is_published_once(self, marked: Road) -> None:
        marked.receive_current_mark()
        marked.pass_time(IN_HAND + 1)
        assert len(marked.look_and_sweep()) == 2
        assert marked.look_and_sweep() == set()

    def test_and_is_queued_anew_so_that_a_second_loss_is_found_too(self, marked: Road) -> None:
        for _ in range(3):
            marked.receive_current_mark()
            marked.pass_time(IN_HAND + 1)
            assert {"command-1", "command-2"} <= marked.look_and_sweep()
            marked.pass_time(GRACE + 1)
            marked.publish_mark()

    def test_one_that_was_queued_after_the_mark_is_found_by_the_next(self, marked: Road) -> None:
        marked.receive_current_mark()
        marked.pass_time(IN_HAND + 1)
        marked.look_and_sweep()
        marked.pass_time(GRACE + 1)
        marked.publish_mark()
        marked.receive_current_mark()
        marked.pass_time(IN_HAND + 1)
        assert "command-3" in marked.look_and_sweep()

    def test_even_if_the_mark_itself_was_lost(self, marked: Road) -> None:
        marked.pass_time(AGAIN + 1)
        kind, _ = marked.look()
        assert kind == "publish"
        marked.receive_current_mark()
        marked.pass_time(IN_HAND + 1)
        assert marked.look_and_sweep() == {"command-1", "command-2"}

    def test_a_mark_that_comes_twice_does_not_lengthen_the_wait(self, marked: Road) -> None:
        marked.receive_current_mark()
        marked.pass_time(IN_HAND - 5)
        marked.receive_current_mark()
        marked.pass_time(6)
        kind, _ = marked.look()
        assert kind == "passed"

    def test_many_are_taken_in_portions_until_none_is_left(self, road: Road) -> None:
        road.queue(*range(7))
        road.pass_time(GRACE + 1)
        road.publish_mark()
        road.receive_current_mark()
        road.pass_time(IN_HAND + 1)
        portions = [road.look_and_sweep(most=3) for _ in range(4)]
        assert [len(portion) for portion in portions] == [3, 3, 1, 0]
        assert len(set().union(*portions)) == 7

    def test_also_of_a_claim_that_ran_out_and_was_published_in_vain(self, road: Road) -> None:
        (command,) = road.queue(1)
        road.claim(command)
        road.pass_time(LEASE + 1)
        assert road.sweep() == {"command-1"}
        road.pass_time(GRACE + 1)
        road.publish_mark()
        road.receive_current_mark()
        road.pass_time(IN_HAND + 1)
        assert road.look_and_sweep() == {"command-1"}
        assert road.claim(command).attempts == 1

    def test_a_found_command_ends_as_any_other(self, marked: Road) -> None:
        marked.receive_current_mark()
        marked.pass_time(IN_HAND + 1)
        marked.look_and_sweep()
        command = make_command(command_id="command-1", device_key=device(1), issued_at=ISSUED)
        marked.ledger.succeed(marked.claim(command), "r")
        record = marked.ledger.lookup("command-1")
        assert record is not None
        assert record.outcome is State.SUCCEEDED
        assert marked.ledger.open_count()[marked.lane] == 2
