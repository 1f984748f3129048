"""Lets every `Producer` and `Incidents` of the process use the fakes, for as long as a test needs it.

As `responses` and `requests_mock` do, this changes the classes and not the names that lead to them: so it
does not matter how the code under test imported them, and whether it made its producer before.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, NoReturn
from unittest.mock import patch

from device_status.errors import DeviceStatusError
from device_status.following import _Following
from device_status.incidents import Incidents
from device_status.producer import Producer
from device_status.publisher import Publisher
from device_status.scripts import Scripts
from device_status.testing.incidents import FakeIncidents
from device_status.testing.producer import NOWHERE, FakeProducer

_TO_SERVERS: Final = (
    (Scripts, "run"),
    (_Following, "connect"),  # redis-py calls it for each command, also if the connection is open
    (Publisher, "_channel"),
)
"""Every way from this package to a server."""


@dataclass(frozen=True, slots=True)
class Fakes:
    """What stands in for the real ones; both share one memory."""

    producer: FakeProducer
    incidents: FakeIncidents


_active: Final[list[Fakes]] = []


def is_patched() -> bool:
    """Whether the fakes are in use."""
    return bool(_active)


@contextmanager
def patched() -> Iterator[Fakes]:
    """Let every `Producer` and `Incidents` of this process use fakes until the context ends.

    Those that were made before as well. Until then `load_settings()` names a server that does not exist, for
    other processes too that are started here, and whatever else of this package would reach a server raises
    DeviceStatusError.

    Example:
        >>> with patched() as fakes:
        ...     forget_devices_of("ada")
        ...     fakes.producer.assert_enqueued(username="ada")
    """
    variables = {"DEVICE_STATUS_BROKER_URL": NOWHERE, "DEVICE_STATUS_LEDGER_URL": NOWHERE}
    with ExitStack() as exits:
        exits.enter_context(patch.dict("os.environ", variables))
        producer = FakeProducer()
        fakes = Fakes(producer, FakeIncidents(memory=producer.memory))
        for real, fake in ((Producer, fakes.producer), (Incidents, fakes.incidents)):
            for name in _methods(real):
                exits.enter_context(patch.object(real, name, _forwarder(getattr(real, name), fake)))
        for owner, name in _TO_SERVERS:
            exits.enter_context(patch.object(owner, name, _refuse, create=True))
        _active.append(fakes)
        exits.callback(_active.pop)
        yield fakes


def _methods(real: type) -> Iterator[str]:
    for name, member in vars(real).items():
        # The asyncio variants call the others.
        if inspect.isfunction(member) and name[0] != "_" and not inspect.iscoroutinefunction(member):
            yield name


def _forwarder(original: Callable[..., Any], fake: FakeProducer | FakeIncidents) -> Callable[..., Any]:
    @wraps(original)
    def forward(self: object, *arguments: Any, **options: Any) -> Any:
        if isinstance(self, FakeProducer | FakeIncidents):
            return original(self, *arguments, **options)
        return getattr(fake, original.__name__)(*arguments, **options)

    return forward


def _refuse(*_arguments: Any, **_options: Any) -> NoReturn:
    raise DeviceStatusError(
        "this would reach a server, and this test has fakes of Producer and Incidents only; for the rest use "
        "device_status.testing.worker()"
    )
