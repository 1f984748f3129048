"""Opens a file for what holds usernames: for its owner alone, whole or not at all, and into nobody's trap."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from device_status.cli.output import Exit, fail

_ROOT: Final = 0


@contextmanager
def private_file(name: str) -> Iterator[TextIO]:
    """A file to write, or for `-` standard output; ends the command if it can't be written.

    A file is replaced when all is written, and the new one is for its owner alone (mode 0600), whatever the
    one before it allowed. What can't be finished leaves the one before it in place. One's own link is
    followed.
    """
    try:
        if name == "-":
            yield sys.stdout
            sys.stdout.flush()
            return
        file = Path(name)
        if is_trap(file):
            fail(Exit.USAGE, f"{name}: can't be written: another user has put a link or pipe there")
        if file.exists() and not file.is_file():
            # A pipe or a terminal.
            with file.open("w", encoding="utf-8", newline="") as out:
                yield out
            return
        # Only a link that was looked at is followed: none that takes the file's place meanwhile.
        file = file.resolve() if file.is_symlink() else file.parent.resolve() / file.name
        handle, unfinished = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
                yield out
            Path(unfinished).replace(file)
        finally:
            Path(unfinished).unlink(missing_ok=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(Exit.USAGE, f"{name}: can't be written: {error.strerror}")


def is_trap(file: Path) -> bool:
    """Whether a link or a pipe stands there that somebody else put there: in a folder like /tmp anybody may.

    As the kernel's own rule (protected_symlinks in proc_sys_fs(5)), which `resolve` and `replace` go around:
    one's own is followed, and root's, and that of the folder's owner.
    """
    try:
        there = file.lstat()
    except OSError:
        return False
    trusted = (os.geteuid(), _ROOT, file.parent.stat().st_uid)
    is_harmless = stat.S_ISREG(there.st_mode) or stat.S_ISDIR(there.st_mode)
    return not is_harmless and there.st_uid not in trusted
