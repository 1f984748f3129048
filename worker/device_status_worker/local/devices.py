"""The devices of all users, in memory: moto has none."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Device:
    """One device as it is now. `number` orders devices by their making; times are epoch seconds."""

    number: int
    key: str
    status: str
    name: str
    created: float = field(default_factory=time.time)
    modified: float = field(default_factory=time.time)


class Devices:
    """Devices by their user's `sub`, which tells a user from a later one of the same name.

    Safe for many threads. `KeyError` means that the user has no device with this key.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._by_sub: dict[str, dict[str, Device]] = {}

    def add(self, sub: str, key: str, status: str, name: str) -> None:
        """Adds a device. Raises `ValueError` where the user has one with this key."""
        with self._lock:
            devices = self._by_sub.setdefault(sub, {})
            if key in devices:
                raise ValueError("This user has a device with this key already.")
            devices[key] = Device(next(self._numbers), key, status, name)

    def get(self, sub: str, key: str) -> Device:
        """One device."""
        return self._by_sub.get(sub, {})[key]

    def set_status(self, sub: str, key: str, status: str) -> None:
        """Changes the status, and the time of the last change with it."""
        with self._lock:
            device = self.get(sub, key)
            self._by_sub[sub][key] = replace(device, status=status, modified=time.time())

    def remove(self, sub: str, key: str) -> None:
        """Forgets a device."""
        with self._lock:
            device = self.get(sub, key)
            del self._by_sub[sub][device.key]

    def of(self, sub: str) -> list[Device]:
        """A user's devices, oldest first."""
        with self._lock:
            return list(self._by_sub.get(sub, {}).values())
