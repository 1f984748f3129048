"""Ends a child process when this process is gone, however it went.

`PR_SET_PDEATHSIG` won't do: it fires when the *thread* that started the child ends, and Python has to run
code between fork and exec to set it. A pipe has neither fault: the kernel closes our end of it whenever this
process ends, and a shell that reads the other end then kills the child. The shell costs about a megabyte.

The one hole: a process that was forked from this one without exec holds the pipe's end as well, and the child
lives until that one is gone too.
"""

from __future__ import annotations

import subprocess

# First line: whom to kill. Then `read` blocks until the end of the pipe.
_SCRIPT = 'read -r pid && { read -r _; kill -9 "$pid"; }'


class Guard:
    """Armed with a process id, it kills that process once this one ends; disarmed, it kills nobody."""

    def __init__(self) -> None:
        # A session of its own: Ctrl-C in a terminal goes to the whole group, and the guard must outlive it.
        self._shell = subprocess.Popen(  # noqa: S603 (our own script)
            ["/bin/sh", "-c", _SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def arm(self, pid: int) -> None:
        """Sets whom to kill."""
        assert self._shell.stdin is not None  # noqa: S101 (it is a pipe, see above)
        self._shell.stdin.write(f"{pid}\n".encode())
        self._shell.stdin.flush()

    def disarm(self) -> None:
        """To be called as soon as the child was waited for, since its id is free for others from then on."""
        self._shell.kill()
        self._shell.wait()
        if self._shell.stdin is not None:
            self._shell.stdin.close()
