"""The fixtures of device-status, which pytest finds by itself; `device_status.testing` has what they give.

A package of its own, since every run of pytest imports it: nothing of `device_status` is imported before a
test asks for a fixture, so a run without one loses no time, and coverage is measured from the first line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from device_status.testing import FakeIncidents, FakeProducer, Fakes


@pytest.fixture
def _device_status_fakes() -> Iterator[Fakes]:
    from device_status.testing import patched  # noqa: PLC0415 - see above

    with patched() as fakes:
        yield fakes


@pytest.fixture
def device_status_producer(_device_status_fakes: Fakes) -> FakeProducer:
    """Every `Producer` of this test enqueues here; no server is needed."""
    return _device_status_fakes.producer


@pytest.fixture
def device_status_incidents(_device_status_fakes: Fakes) -> FakeIncidents:
    """Every `Incidents` of this test opens here; no server is needed."""
    return _device_status_fakes.incidents
