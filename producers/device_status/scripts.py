"""Loads the Lua scripts that stand beside it and calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any

import redis
from redis import exceptions
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from device_status.durability import IN_MEMORY, WAITED_FOR, Durability
from device_status.errors import DeviceStatusError, LedgerUnavailableError
from device_status.following import following
from device_status.server_states import is_about_data, told, what_to_do
from device_status.tls import redis_options
from device_status.urls import Kind, ServerUrl

CONNECT_TIMEOUT = 3.0
"""Seconds to wait for a connection."""
ANSWER_TIMEOUT = 4.0
"""Seconds to wait for an answer, so that a server that hangs costs seconds, not for ever."""


def connect(url: str) -> Any:
    """A client whose every call ends within seconds; safe to share among threads and after a fork.

    The protocol and the timeouts are set because redis-py's defaults changed with version 8. One
    retry bridges a connection that the server closed while it was idle, or that leads to a server
    which is no longer the primary: every script of this package may run twice in a row. Typed Any,
    since redis-py types its answers as every type that any way of connecting may give.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "protocol": 2,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": ANSWER_TIMEOUT,
        "socket_keepalive": True,
        "health_check_interval": 30,
        # More than a worker may have threads; past it redis-py raises, as though the server were away.
        "max_connections": 4096,
    }
    client = _client(url, options)
    pool = client.connection_pool
    pool.connection_class = following(pool.connection_class)
    return client


def _client(url: str, options: dict[str, Any]) -> Any:
    retry = Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.2), 1, (redis.ConnectionError,))
    there = ServerUrl.parse(url)
    if there.tls:
        options |= redis_options(there.tls)
    if there.kind is not Kind.SENTINELS:
        return redis.Redis.from_url(there.bare, db=there.database, retry=retry, **options)
    if there.tls:
        options["ssl"] = True
    # Left to its default, redis-py would try each sentinel four times over several seconds.
    sentinels = Sentinel(there.hosts, sentinel_kwargs={**options, "retry": retry})
    return sentinels.master_for(
        there.master_name,
        db=there.database,
        username=there.username,
        password=there.password,
        retry=retry,
        **options,
    )


@contextmanager
def ledger_errors() -> Iterator[None]:
    """Turn the client's errors into ours, in words that tell what to do."""
    try:
        yield
    except redis.RedisError as error:
        what = f"({told(error)})"
        if isinstance(error, redis.ResponseError) and is_about_data(error):
            raise DeviceStatusError(f"the ledger holds what this version does not expect {what}") from error
        advice = what_to_do(error) or "check DEVICE_STATUS_LEDGER_URL and the server"
        raise LedgerUnavailableError(
            f"the ledger did not serve the call {what}; {advice}, then repeat the call with the same command"
        ) from error


Patience = Callable[[LedgerUnavailableError], None]
"""Waits and returns where the call shall be made again, or raises."""


def no_patience(error: LedgerUnavailableError) -> None:
    """Leave the error to the caller."""
    raise error


class Scripts:
    """The scripts of one package folder, each run with `prelude` before it.

    Parameters:
        patience: what to do while the server is away; every script may run twice in a row.
        durability: what the scripts in `WAITED_FOR` wait for; `prelude` must name PREFIX then.
    """

    def __init__(
        self,
        client: Any,
        package: str,
        *,
        prelude: str = "",
        patience: Patience = no_patience,
        durability: Durability = IN_MEMORY,
    ) -> None:
        self._client = client
        self._package = package
        self._prelude = prelude
        self._patience = patience
        self._durability = durability
        self._waited_for = WAITED_FOR if durability.command else frozenset()
        self._scripts: dict[str, Any] = {}

    def run(self, name: str, keys: Sequence[str], *arguments: str | int | float) -> Any:
        """Run `lua/<name>.lua`; the script's header says what it takes and returns.

        Raises:
            LedgerUnavailableError: the server can't be reached, does not answer, can't write, or does not
                confirm in time that what it wrote is as safe as `durability` wants it.
            DeviceStatusError: it holds what the script does not expect.
        """
        run = self._run_and_wait if name in self._waited_for else self._run
        while True:
            try:
                with ledger_errors():
                    return run(name, keys, arguments)
            except LedgerUnavailableError as error:
                self._patience(error)

    def _run(self, name: str, keys: Sequence[str], arguments: Sequence[str | int | float]) -> Any:
        return self._script(name)(keys=keys, args=arguments)

    def _run_and_wait(self, name: str, keys: Sequence[str], arguments: Sequence[str | int | float]) -> Any:
        script = self._script(name)
        answer, confirmation = self._run_then_wait(script, keys, arguments)
        if isinstance(answer, exceptions.NoScriptError):
            self._client.script_load(script.script)
            answer, confirmation = self._run_then_wait(script, keys, arguments)
        for each in (answer, confirmation):
            if isinstance(each, Exception):
                raise each
        if not self._durability.is_confirmed_by(confirmation):
            raise LedgerUnavailableError(
                f"the ledger did not confirm the call in time: {self._durability.unconfirmed}, then repeat "
                "the call with the same command: it has no second effect"
            )
        return answer

    def _run_then_wait(
        self, script: Any, keys: Sequence[str], arguments: Sequence[str | int | float]
    ) -> list[Any]:
        # In one pipeline, so that both run on one connection. If that is lost, redis-py repeats both: alone,
        # the wait might ask a server that never ran the script.
        with self._client.pipeline(transaction=False) as pipe:
            pipe.evalsha(script.sha, len(keys), *keys, *arguments)
            pipe.execute_command(*self._durability.command)
            answers: list[Any] = pipe.execute(raise_on_error=False)
            return answers

    def _script(self, name: str) -> Any:
        # Two threads may both make it: it has no state.
        if name not in self._scripts:
            marker = source(self._package, "marker") if name in self._waited_for else ""
            text = self._prelude + marker + source(self._package, name)
            self._scripts[name] = self._client.register_script(text)
        return self._scripts[name]


@cache
def source(package: str, name: str) -> str:
    """The text of `lua/<name>.lua` in `package`."""
    return files(package).joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
