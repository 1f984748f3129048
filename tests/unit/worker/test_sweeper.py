"""Promises of the sweeper: what is due is published again, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from threading import Event

import pytest

from device_status import DeadLetters, Lane, Producer, Settings, State, load_settings
from device_status.ledger import LEASE, PREFIX, Ledger
from device_status.outcomes import Claimed
from device_status.publisher import MARK, BrokerUnavailableError, Publisher
from device_status_worker import sweeper as sweeper_module
from device_status_worker.sweeper import GRACE, IN_HAND, LEADERSHIP, MARK_AGAIN, Sweeper
from support import device, make_command
from support.broker import commands_in, queue_length, take_messages
from support.clock import let_time_pass
from support.servers import HOST, free_port

LANE = Lane.BULK
Claim = Callable[..., Claimed]


@pytest.fixture
def sweeper(ledger: Ledger, settings: Settings) -> Sweeper:
    return Sweeper(ledger, Publisher(settings.broker_url), Event())


@pytest.fixture
def claim(ledger: Ledger) -> Claim:
    """Claims a command for a device of its own."""

    def claim(number: int, lane: Lane = LANE) -> Claimed:
        command = make_command(command_id=f"command-{number}", device_key=device(number))
        claimed = ledger.claim(command, lane)
        assert isinstance(claimed, Claimed)
        return claimed

    return claim


def published(settings: Settings, lane: Lane = LANE) -> list[str]:
    """The ids of the commands that wait in a lane, and `mark` for a mark; takes them out."""
    ids: list[str] = []
    for message in take_messages(settings.broker_url, lane):
        if message.headers["task"] == MARK:
            ids.append("mark")
        else:
            ids += [command["command_id"] for command in commands_in(message)]
    return ids


def mark_in(settings: Settings, lane: Lane = LANE) -> int:
    (message,) = take_messages(settings.broker_url, lane)
    return int(message.decode()[1]["mark"])


class TestWhatIsDue:
    @pytest.mark.parametrize("lane", Lane)
    def test_a_retry_is_published_in_its_lane_when_it_is_due_and_once(
        self, lane: Lane, ledger: Ledger, settings: Settings, sweeper: Sweeper, claim: Claim
    ) -> None:
        ledger.retry(claim(1, lane), 10, "HTTP503", "why")
        assert sweeper.round() == 0
        let_time_pass(ledger.redis, 10)
        assert sweeper.round() == 1
        assert sweeper.round() == 0
        assert published(settings, lane) == ["command-1"]
        record = ledger.lookup("command-1")
        assert record is not None
        assert record.state is State.QUEUED

    def test_a_claim_is_published_when_its_lease_is_over(
        self, ledger: Ledger, settings: Settings, sweeper: Sweeper, claim: Claim
    ) -> None:
        claim(1)
        let_time_pass(ledger.redis, LEASE - 5)
        assert sweeper.round() == 0
        let_time_pass(ledger.redis, 5)
        assert sweeper.round() == 1
        assert published(settings) == ["command-1"]
        assert claim(1).attempts == 1, "the worker that died with it made an attempt"

    def test_what_has_an_outcome_is_left_alone(
        self, ledger: Ledger, settings: Settings, sweeper: Sweeper, claim: Claim
    ) -> None:
        ledger.succeed(claim(1), "request-1")
        ledger.dead_letter(claim(2), "UserNotFoundException", "why")
        let_time_pass(ledger.redis, 3600)
        assert sweeper.round() == 0
        assert published(settings) == []

    def test_a_round_takes_no_more_than_it_may(
        self,
        ledger: Ledger,
        settings: Settings,
        sweeper: Sweeper,
        claim: Claim,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(sweeper_module, "MOST_A_ROUND", 3)
        for number in range(7):
            ledger.retry(claim(number), 0, "HTTP503", "why")
        assert [sweeper.round() for _ in range(4)] == [3, 3, 1, 0]
        assert len(set(published(settings))) == 7

    def test_dead_letters_past_the_retention_go(
        self, ledger: Ledger, settings: Settings, sweeper: Sweeper, claim: Claim
    ) -> None:
        ledger.dead_letter(claim(1), "UserNotFoundException", "why")
        let_time_pass(ledger.redis, (settings.retention - timedelta(minutes=1)).total_seconds())
        sweeper.round()
        assert DeadLetters(settings).count_by_error() == {"UserNotFoundException": 1}
        let_time_pass(ledger.redis, 60)
        sweeper.round()
        assert DeadLetters(settings).count_by_error() == {}


class TestLostMessages:
    def lose(self, ledger: Ledger, *numbers: int) -> None:
        """Enter commands whose message was never published, or is lost."""
        ledger.enter(
            [make_command(command_id=f"command-{each}", device_key=device(each)) for each in numbers], LANE
        )

    def test_a_command_whose_message_is_lost_is_published_again(
        self, ledger: Ledger, settings: Settings, sweeper: Sweeper
    ) -> None:
        self.lose(ledger, 1, 2)
        assert sweeper.round() == 0
        let_time_pass(ledger.redis, GRACE)
        assert sweeper.round() == 0
        sweeper.note_mark(LANE, mark_in(settings))
        let_time_pass(ledger.redis, IN_HAND)
        assert sweeper.round() == 2
        assert sorted(published(settings)) == ["command-1", "command-2"]

    def test_a_mark_that_is_lost_itself_is_published_again(
        self, ledger: Ledger, settings: Settings, sweeper: Sweeper
    ) -> None:
        self.lose(ledger, 1)
        let_time_pass(ledger.redis, GRACE)
        sweeper.round()
        first = mark_in(settings)
        let_time_pass(ledger.redis, MARK_AGAIN)
        sweeper.round()
        assert mark_in(settings) == pytest.approx(first - 1000 * MARK_AGAIN, abs=2)

    def test_a_backlog_of_hours_is_not_published_again(
        self, ledger: Ledger, settings: Settings, sweeper: Sweeper
    ) -> None:
        count = 200
        Producer(settings).enqueue_many(
            [make_command(command_id=f"command-{n}", device_key=device(n)) for n in range(count)], lane=LANE
        )
        before = queue_length(settings.broker_url, LANE)
        for _ in range(20):
            let_time_pass(ledger.redis, 1800)
            assert sweeper.round() == 0
        assert len([each for each in published(settings) if each != "mark"]) == count
        assert queue_length(settings.broker_url, LANE) == 0
        assert before > 0


class TestOneAtATime:
    def test_another_sweeper_rests_until_the_first_is_gone(
        self, ledger: Ledger, settings: Settings, sweeper: Sweeper, claim: Claim
    ) -> None:
        other = Sweeper(ledger, Publisher(settings.broker_url), Event())
        sweeper.round()
        ledger.retry(claim(1), 0, "HTTP503", "why")
        assert other.round() == 0
        let_time_pass(ledger.redis, LEADERSHIP)
        assert other.round() == 1
        assert sweeper.round() == 0
        assert published(settings) == ["command-1"]

    def test_each_round_keeps_the_lead(self, ledger: Ledger, settings: Settings, sweeper: Sweeper) -> None:
        other = Sweeper(ledger, Publisher(settings.broker_url), Event())
        sweeper.round()
        leader = ledger.redis.get(f"{PREFIX}sweeper")
        for _ in range(3):
            let_time_pass(ledger.redis, LEADERSHIP - 1)
            sweeper.round()
            other.round()
        assert ledger.redis.get(f"{PREFIX}sweeper") == leader


def test_what_could_not_be_published_is_found_as_lost(
    ledger: Ledger, settings: Settings, sweeper: Sweeper, claim: Claim
) -> None:
    nowhere = load_settings(broker_url=f"redis://{HOST}:{free_port()}/0", ledger_url=settings.ledger)
    broken = Sweeper(ledger, Publisher(nowhere.broker_url), Event())
    ledger.retry(claim(1), 0, "HTTP503", "why")
    with pytest.raises(BrokerUnavailableError):
        broken.round()
    let_time_pass(ledger.redis, GRACE + LEADERSHIP)
    sweeper.round()
    sweeper.note_mark(LANE, mark_in(settings))
    let_time_pass(ledger.redis, IN_HAND)
    assert sweeper.round() == 1
    assert published(settings) == ["command-1"]
