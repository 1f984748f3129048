"""Reads the files that people give: commands as CSV or JSON lines, and lists of usernames.

What can't be read is refused with its line number, and a `Tally` accounts for every line.
"""

from __future__ import annotations

from device_status.cli.files.errors import UnreadableFileError, UnusableFileError
from device_status.cli.files.formats import Format, read_records
from device_status.cli.files.record import Record
from device_status.cli.files.source import open_source
from device_status.cli.files.tally import Tally
from device_status.cli.files.usernames import read_usernames

__all__ = [
    "Format",
    "Record",
    "Tally",
    "UnreadableFileError",
    "UnusableFileError",
    "open_source",
    "read_records",
    "read_usernames",
]
