"""What `make chaos` would call wrong: each part of its verdict can fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos.faults.fault import Fault, Loses
from chaos.publishing import Published
from chaos.schedule import Happened
from chaos.verdict.logs import problems
from chaos.verdict.lost import judge_commands, judge_messages
from chaos.verdict.quota import Stalls, most_in_a_second
from chaos.workload import Malformed, make
from device_status import Lane
from support.messages import BAD_MESSAGES


@contextmanager
def nothing() -> Iterator[None]:
    yield


def happened(loses: Loses, until: float, *, rolls_back: bool = False) -> Happened:
    fault = Fault(nothing, loses=loses, rolls_back=rolls_back)
    return Happened("a fault", fault, until - 1, until)


def messages(*pushed_at: float) -> Published:
    made = [Malformed(BAD_MESSAGES["bad JSON"](str(each)), Lane.BULK) for each in range(len(pushed_at))]
    return Published(pushed_at=dict(zip(made, pushed_at, strict=True)))


class TestQuota:
    def test_of_requests_evenly_spaced_the_busiest_second_is_counted(self) -> None:
        times = [10 + number / 20 for number in range(60)] + [11.51, 11.52]
        assert most_in_a_second(times, Stalls()) == 22

    def test_what_was_seen_late_together_is_no_burst(self) -> None:
        stalls = Stalls()
        stalls.note(10.5, 0.5)
        # Those of half a second, seen at its end, and those of the next second.
        times = [10.5] * 10 + [10.5 + number / 20 for number in range(1, 20)]
        assert most_in_a_second(times, Stalls()) == 29
        assert most_in_a_second(times, stalls) == 19

    def test_a_stall_elsewhere_excuses_nothing(self) -> None:
        stalls = Stalls()
        stalls.note(5.0, 0.9)
        assert most_in_a_second([10.0] * 30, stalls) == 30


class TestLostMessages:
    def test_a_fault_that_ends_connections_has_one_of_each_worker_and_no_more(self) -> None:
        published = messages(1.0, 2.0, 3.0)
        lost = judge_messages(list(published.pushed_at), [happened(Loses.ONE_PER_WORKER, 5)], published, 2)
        assert len(lost.with_a_fault) == 2
        assert len(lost.wrong) == 1

    @pytest.mark.parametrize("loses", [Loses.NOTHING, Loses.ONE, Loses.ALL])
    def test_a_fault_before_it_was_pushed_has_none(self, loses: Loses) -> None:
        published = messages(10.0)
        lost = judge_messages(list(published.pushed_at), [happened(loses, 5)], published, 4)
        assert lost.with_a_fault == []
        assert len(lost.wrong) == 1

    def test_a_broker_without_a_disk_has_all_and_a_killed_worker_one(self) -> None:
        published = messages(1.0, 2.0, 3.0)
        missing = list(published.pushed_at)
        assert judge_messages(missing, [happened(Loses.ALL, 5)], published, 4).wrong == []
        assert len(judge_messages(missing, [happened(Loses.ONE, 5)], published, 4).wrong) == 2


class TestLostCommands:
    def test_only_a_failover_that_may_roll_back_has_one_and_only_of_its_time(self) -> None:
        published = Published(accepted_at={"early": 1.0, "then": 9.5, "late": 20.0})
        faults = [happened(Loses.ONE_PER_WORKER, 10, rolls_back=True)]
        lost = judge_commands(["early", "then", "late"], faults, published)
        assert lost.with_a_fault == ["then (a fault)"]
        assert len(lost.wrong) == 2
        assert len(judge_commands(["then"], [happened(Loses.ALL, 10)], published).wrong) == 1


class TestLogs:
    @pytest.mark.parametrize("bad", ["Traceback (most recent call last):", "[CRITICAL/MainProcess] x"])
    def test_a_traceback_is_wrong(self, bad: str, tmp_path: Path) -> None:
        log = tmp_path / "worker0.log"
        log.write_text("[2026 WARNING/MainProcess] all is well\n")
        assert list(problems(log, 60, 0)) == []
        log.write_text(f"{bad}\n")
        assert len(list(problems(log, 60, 0))) == 1

    def test_more_lines_than_a_minute_may_have_are_wrong(self, tmp_path: Path) -> None:
        log = tmp_path / "worker0.log"
        log.write_text("[2026 ERROR/MainProcess] away\n" * 1000)
        (problem,) = problems(log, 60, 0)
        assert "1000 lines" in problem
        assert list(problems(log, 600, 0)) == []


def test_the_newest_command_of_a_device_is_the_newest_that_is_not_lost() -> None:
    devices = [("ada", f"us-east-1_{number}") for number in range(20)]
    load = make("us-east-1_pool", devices, 200, 1)
    newest = load.newest(set())
    assert len(newest) == 20
    device, command = next(iter(newest.items()))
    older = load.newest({command.command_id})[device]
    assert older.issued_at < command.issued_at
    assert {each for each in load.commands.values() if each.device_key == device[1]} >= {older, command}


def test_a_tenth_of_the_devices_belongs_to_producers_without_our_package() -> None:
    devices = [("ada", f"us-east-1_{number}") for number in range(20)]
    load = make("us-east-1_pool", devices, 400, 1)
    foreign = {each.device_key for message in load.foreign for each in message.commands}
    assert foreign == {"us-east-1_0", "us-east-1_10"}
    assert not foreign & {each.device_key for each in load.own.values()}
    assert len(load.commands) == 400
