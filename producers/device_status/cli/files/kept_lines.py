"""Keeps lines that may have to be read again: few in memory, many on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile
from typing import Final

from device_status.cli.files.errors import UnreadableFileError
from device_status.cli.files.lines import Line

_IN_MEMORY: Final = 1024 * 1024
"""Characters."""


class KeptLines:
    """Lines that were read ahead, to be read again once. Their file has no name and is gone with it."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="ascii")  # noqa: SIM115

    def add(self, line: Line) -> None:
        """Keep one more.

        Raises:
            UnreadableFileError: the disk takes no more.
        """
        with _disk_errors():
            self._file.write(json.dumps(line) + "\n")

    def __iter__(self) -> Iterator[Line]:
        with _disk_errors(), self._file as file:
            file.seek(0)
            for text in file:
                yield Line(*json.loads(text))


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnreadableFileError(
            f"the folder for temporary files can't be used: {error.strerror}; TMPDIR names another"
        ) from error
