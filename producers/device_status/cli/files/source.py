"""Opens what a file argument names."""

from __future__ import annotations

import io
import os
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from device_status.cli.output import Exit, fail


def open_source(name: str, stack: ExitStack) -> tuple[BinaryIO, int | None]:
    """A file or, for `-`, standard input; with its size in bytes, if it has one.

    Ends the command if it can't be opened.
    """
    if name == "-":
        if sys.stdin is None:
            fail(Exit.USAGE, "-: standard input is closed")
        with suppress(io.UnsupportedOperation):
            # Otherwise a slow pipe that another program made non-blocking would look as if it had ended.
            os.set_blocking(sys.stdin.fileno(), True)
        return sys.stdin.buffer, None
    try:
        file = stack.enter_context(Path(name).open("rb"))  # noqa: SIM115
    except OSError as error:
        fail(Exit.USAGE, f"{name}: can't be read: {error.strerror}")
    return file, Path(name).stat().st_size if Path(name).is_file() else None
