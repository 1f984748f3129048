"""What a run may have lost, and which fault it went with. All else that is missing is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from chaos.faults.fault import Loses
from chaos.publishing import Published
from chaos.schedule import Happened
from chaos.workload import Message

MARGIN = 1.0
"""Seconds around a failover in which an answer may have come from the old primary."""


@dataclass
class Lost:
    """What is missing, and which fault may have it."""

    with_a_fault: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def judge_messages(
    missing: Sequence[Message],
    happened: Sequence[Happened],
    published: Published,
    workers: int,
) -> Lost:
    """Messages that lay in a Redis broker alone: each needs a fault, after it was pushed, that may lose it.

    A fault that ends connections has one of each worker at most.
    """
    most = {Loses.NOTHING: 0, Loses.ONE: 1, Loses.ONE_PER_WORKER: workers, Loses.ALL: len(missing)}
    faults = sorted(happened, key=lambda each: each.ended_at)
    left = [most[each.fault.loses] for each in faults]
    lost = Lost()
    # The latest first: they have the fewest faults that may have them.
    for message in sorted(missing, key=lambda each: published.pushed_at[each], reverse=True):
        number = next(
            (
                number
                for number, each in enumerate(faults)
                if left[number] and each.ended_at + MARGIN >= published.pushed_at[message]
            ),
            None,
        )
        if number is None:
            lost.wrong.append(f"message lost without a fault that may lose it: {name(message)}")
        else:
            left[number] -= 1
            lost.with_a_fault.append(f"{name(message)} ({faults[number].kind}?)")
    return lost


def judge_commands(missing: Sequence[str], happened: Sequence[Happened], published: Published) -> Lost:
    """Commands that the ledger acknowledged: only a failover has them, of those entered just before it."""
    lost = Lost()
    for command_id in missing:
        at = published.accepted_at.get(command_id)
        fault = next((each for each in happened if each.fault.rolls_back and _is_about(each, at)), None)
        if fault:
            lost.with_a_fault.append(f"{command_id} ({fault.kind})")
        else:
            lost.wrong.append(f"{command_id}: lost")
    return lost


def rollbacks(happened: Sequence[Happened]) -> Iterator[tuple[float, float]]:
    """From when to when the ledger's state may have gone back."""
    for each in happened:
        if each.fault.rolls_back:
            yield each.began_at - MARGIN, each.ended_at + MARGIN


def name(message: Message) -> str:
    """To be found by, in what a run says."""
    return str(getattr(message, "commands", message))[:200]


def _is_about(each: Happened, at: float | None) -> bool:
    return at is not None and each.began_at - MARGIN <= at <= each.ended_at + MARGIN
