"""What ends the reading of a whole file; a fault of one line never does."""

from __future__ import annotations

from device_status.errors import DeviceStatusError


class UnusableFileError(DeviceStatusError):
    """The file is not what it must be, and none of it was used; the text says what to do."""


class UnreadableFileError(DeviceStatusError):
    """The system stopped giving the file's content; the text says after which line."""
