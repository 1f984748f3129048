"""The states of a Redis in which it refuses, closes or keeps silent, each entered and left on a real one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from device_status_worker.local import EmbeddedValkey
from support.forwarder import Forwarder
from support.servers import HOST, answering, free_port
from support.waiting import eventually

USER: Final = "worker"
PASSWORD: Final = "hunter2"
OPTIONS: Final = {
    # DEBUG RELOAD, and a load that is slow and answers meanwhile.
    "enable-debug-command": "yes",
    "loading-process-events-interval-bytes": "1024",
    "busy-reply-threshold": "100",
}
"""What a server needs for all of its moods."""


class Endpoint:
    """A Redis behind a forwarder, with a user whom clients log in as; a context manager.

    Parameters:
        server: with `OPTIONS`; default: a Valkey.
    """

    def __init__(self, server: EmbeddedValkey | None = None) -> None:
        self.server = server or EmbeddedValkey(config=OPTIONS)

    def __enter__(self) -> Endpoint:
        with ExitStack() as exits:
            exits.enter_context(self.server)
            self.forwarder = exits.enter_context(Forwarder(self.server.port))
            self.admin = admin_of(self.server)
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.admin.close()
        self._exits.close()

    def move_to(self, server: EmbeddedValkey) -> None:
        """Lead new connections to this server; those that there are stay where they are."""
        self.admin.close()
        self.server, self.admin = server, admin_of(server)
        self.forwarder.lead_to(server.port)

    @property
    def url(self) -> str:
        """For workers and producers."""
        return f"redis://{USER}:{PASSWORD}@{HOST}:{self.forwarder.port}/0"

    def allow(self, *rules: str) -> None:
        """Give the user its password and these rights; default: all."""
        self.admin.execute_command(
            "ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "&*", *(rules or ["+@all"])
        )


def admin_of(server: EmbeddedValkey) -> Any:
    """A client that may do everything, past the forwarder."""
    return redis.Redis(
        port=server.port, decode_responses=True, retry=Retry(NoBackoff(), 0), socket_timeout=60
    )


@contextmanager
def _setting(endpoint: Endpoint, name: str, value: str) -> Iterator[None]:
    before = endpoint.admin.config_get(name)[name]
    endpoint.admin.config_set(name, value)
    try:
        yield
    finally:
        endpoint.admin.config_set(name, before)


def _full(endpoint: Endpoint) -> AbstractContextManager[None]:
    return _setting(endpoint, "maxmemory", "1mb")


def _without_replicas(endpoint: Endpoint) -> AbstractContextManager[None]:
    return _setting(endpoint, "min-replicas-to-write", "1")


@contextmanager
def _replica(endpoint: Endpoint) -> Iterator[None]:
    endpoint.admin.replicaof(HOST, free_port())
    try:
        yield
    finally:
        endpoint.admin.replicaof("NO", "ONE")


@contextmanager
def _replica_without_primary(endpoint: Endpoint) -> Iterator[None]:
    with _setting(endpoint, "replica-serve-stale-data", "no"), _replica(endpoint):
        yield


@contextmanager
def _cannot_save(endpoint: Endpoint) -> Iterator[None]:
    # The dump can't be put where a directory stands.
    place = Path(endpoint.server.data_dir) / "dump.rdb"
    place.unlink(missing_ok=True)
    place.mkdir()

    def last_save() -> str:
        return str(endpoint.admin.info("persistence")["rdb_last_bgsave_status"])

    def save() -> None:
        with suppress(redis.ResponseError):
            endpoint.admin.bgsave()

    with _setting(endpoint, "save", "3600 1"):
        save()
        eventually(lambda: last_save() == "err", "it can't save")
        try:
            yield
        finally:
            place.rmdir()
            save()
            eventually(lambda: last_save() == "ok", "it can save")


@contextmanager
def _loading(endpoint: Endpoint) -> Iterator[None]:
    with endpoint.admin.pipeline() as pipe:
        for number in range(30):
            pipe.set(f"filler:{number}", "x" * 4096)
        pipe.execute()
    endpoint.admin.config_set("key-load-delay", "150000")
    loader = redis.Redis(port=endpoint.server.port, socket_timeout=60, retry=Retry(NoBackoff(), 0))
    reload = threading.Thread(target=lambda: loader.execute_command("DEBUG", "RELOAD"), daemon=True)
    reload.start()

    def is_loading() -> bool:
        return bool(endpoint.admin.info("persistence")["loading"])

    eventually(is_loading, "it loads")
    try:
        yield
    finally:
        # Some servers take no settings meanwhile; then it is over when all is loaded.
        with suppress(redis.RedisError):
            endpoint.admin.config_set("key-load-delay", "0")
        reload.join()
        loader.close()
        endpoint.admin.config_set("key-load-delay", "0")


@contextmanager
def _busy(endpoint: Endpoint) -> Iterator[None]:
    client = redis.Redis(port=endpoint.server.port, socket_timeout=60, retry=Retry(NoBackoff(), 0))

    def run() -> None:
        with suppress(redis.ResponseError):
            client.eval("while true do end", 0)

    script = threading.Thread(target=run, daemon=True)
    script.start()

    def is_busy() -> bool:
        try:
            return not endpoint.admin.ping()
        except redis.ResponseError:
            return True

    eventually(is_busy, "a script runs")
    try:
        yield
    finally:
        endpoint.admin.script_kill()
        script.join()
        client.close()


@contextmanager
def _without_rights(endpoint: Endpoint) -> Iterator[None]:
    endpoint.allow("-@write")
    try:
        yield
    finally:
        endpoint.allow()


@contextmanager
def _without_any_right(endpoint: Endpoint) -> Iterator[None]:
    endpoint.allow("-@all")
    try:
        yield
    finally:
        endpoint.allow()


@contextmanager
def _without_user(endpoint: Endpoint) -> Iterator[None]:
    endpoint.admin.execute_command("ACL", "DELUSER", USER)
    try:
        yield
    finally:
        endpoint.allow()


@contextmanager
def _with_too_many_clients(endpoint: Endpoint) -> Iterator[None]:
    with _setting(endpoint, "maxclients", "1"):
        _kill_clients(endpoint)
        yield


@contextmanager
def _elsewhere(endpoint: Endpoint, port: int) -> Iterator[None]:
    endpoint.forwarder.lead_to(port)
    endpoint.forwarder.cut()
    try:
        yield
    finally:
        endpoint.forwarder.lead_to(endpoint.server.port)
        endpoint.forwarder.cut()


@contextmanager
def _cluster(endpoint: Endpoint) -> Iterator[None]:
    with EmbeddedValkey(config={"cluster-enabled": "yes"}) as node:
        with redis.Redis(port=node.port) as client:
            client.execute_command("ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all")
        with _elsewhere(endpoint, node.port):
            yield


@contextmanager
def _not_redis(endpoint: Endpoint) -> Iterator[None]:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port, _elsewhere(endpoint, port):
        yield


def _away(endpoint: Endpoint) -> AbstractContextManager[None]:
    return _elsewhere(endpoint, free_port())


@contextmanager
def _hung(endpoint: Endpoint) -> Iterator[None]:
    with stopped(endpoint.server.pid):
        yield


@contextmanager
def stopped(pid: int | None) -> Iterator[None]:
    """The process hangs."""
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def kill_clients(admin: Any) -> None:
    """Close the connections of all clients but this one."""
    admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def _kill_clients(endpoint: Endpoint) -> None:
    kill_clients(endpoint.admin)


def unblock(endpoint: Endpoint) -> bool:
    """End the call of a client that waits for a message; False: none does."""
    clients = [each["id"] for each in endpoint.admin.client_list() if each["cmd"] == "brpop"]
    return any(endpoint.admin.execute_command("CLIENT", "UNBLOCK", each, "ERROR") for each in clients)


def _unblock(endpoint: Endpoint) -> None:
    eventually(lambda: unblock(endpoint), "a client waits")


Mood = Callable[[Endpoint], AbstractContextManager[None]]

LASTING: Final[dict[str, Mood]] = {
    "OOM": _full,
    "READONLY": _replica,
    "MASTERDOWN": _replica_without_primary,
    "NOREPLICAS": _without_replicas,
    "MISCONF": _cannot_save,
    "LOADING": _loading,
    "BUSY": _busy,
    "NOPERM": _without_rights,
    "NOPERM for everything": _without_any_right,
    "WRONGPASS": _without_user,
    "max number of clients reached": _with_too_many_clients,
    "CLUSTERDOWN": _cluster,
    "not Redis": _not_redis,
    "refused": _away,
    "silence": _hung,
}
"""By what clients get; each lasts until it is left."""

PASSING: Final[dict[str, Callable[[Endpoint], None]]] = {"UNBLOCKED": _unblock, "closed": _kill_clients}
"""Those that are over at once."""
