"""What a fault is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol


class Loses(Enum):
    """What a fault may cost of the messages that lie in a Redis broker and nowhere else: those of producers
    without our package, and those that are no command. The ledger knows nothing of them before a worker does.
    """

    NOTHING = auto()
    ONE = auto()
    """The one that the worker had popped and not yet registered, if it is killed then."""
    ONE_PER_WORKER = auto()
    """The same for each worker, if its connection ends while Redis hands over a message."""
    ALL = auto()
    """The broker keeps nothing on disk."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong for some seconds."""

    begin: Callable[[], AbstractContextManager[None]]
    """Entered, the fault is there; left, it is undone."""
    lasts: tuple[float, float] = (1.0, 4.0)
    """Seconds, at least and at most."""
    loses: Loses = Loses.NOTHING
    most: int | None = None
    """How often it happens in a run; None: as often as it comes."""
    ends_a_worker: bool = True
    """Whether a worker is asked to end in the midst of the first of its kind, and not only by chance."""
    rest: float = 1.0
    """How much longer than usual the next fault of its track has to wait."""
    rolls_back: bool = False
    """Whether a replica takes over that may not have seen all that the ledger acknowledged."""


class _Process(Protocol):
    def kill(self) -> None: ...
    def start(self) -> Any: ...


@contextmanager
def killed(process: _Process) -> Iterator[None]:
    """Killed at first, and started again at the end."""
    process.kill()
    try:
        yield
    finally:
        process.start()
