"""What a Redis says of its own state, and what to do about it.

The codes are those of Redis's and Valkey's sources (`server.c`, `networking.c`, `acl.c`, `cluster.c`,
`script.c`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import redis
from redis import exceptions

from device_status import rabbitmq
from device_status.connection_errors import advice, cause


@dataclass(frozen=True, slots=True)
class ServerState:
    """A state in which a server refuses what it is asked; all of them pass, or can be mended."""

    code: str
    """Its error's first word; of errors that begin with ERR, a part of the text."""
    what_to_do: str
    elsewhere: bool = False
    """Another server behind the same name may do it: connections are dropped, the name is looked up again."""
    raised_as: type[Exception] | None = None
    """redis-py's class, which takes the code out of the text."""


_CLUSTER: Final = "it is a node of a Redis Cluster, which can't be used; use a single primary"
_CREDENTIALS: Final = "correct user and password, in the URL or on the server"

_RIGHTS: Final = "allow its user every key and command"
_TOO_OLD: Final = "use Redis 6.2 or later, or Valkey, with no command renamed or forbidden"
_NO_WAITAOF: Final = (
    "DEVICE_STATUS_DURABILITY=fsync needs Redis 7.2 or later, or Valkey; upgrade it, or change the setting"
)
_REPLICA: Final = "it is a replica: let the URL lead to the primary"

STATES: Final = (
    ServerState(
        "OOM", "its memory is full: raise maxmemory, or free memory", raised_as=exceptions.OutOfMemoryError
    ),
    ServerState("READONLY", _REPLICA, elsewhere=True, raised_as=exceptions.ReadOnlyError),
    ServerState("REDIRECT", _REPLICA, elsewhere=True),
    ServerState("MASTERDOWN", _REPLICA, elsewhere=True, raised_as=exceptions.MasterDownError),
    ServerState("NOREPLICAS", "bring back the replicas that min-replicas-to-write asks for", elsewhere=True),
    ServerState("MISCONF", "it can't save to disk: look at its log and its disk", elsewhere=True),
    ServerState("LOADING", "it loads its data: wait", elsewhere=True, raised_as=exceptions.BusyLoadingError),
    ServerState("UNBLOCKED", "a failover, or somebody, ended a call that waited", elsewhere=True),
    ServerState("BUSY", "a script runs for long: wait, or SCRIPT KILL"),
    ServerState("UNKILLABLE", "a script runs for long: wait"),
    ServerState("killed by user", "somebody ended a script that ran"),
    ServerState("NOAUTH", _CREDENTIALS, raised_as=exceptions.AuthenticationError),
    ServerState("WRONGPASS", _CREDENTIALS),
    ServerState("NOPERM", _RIGHTS, raised_as=exceptions.NoPermissionError),
    ServerState("ACL failure in script", _RIGHTS),
    # Redis 6.2 and 7.0, which give no code there.
    ServerState("The user executing the script", _RIGHTS),
    ServerState("DENIED", "it is in protected mode: set a password, or bind it to this network"),
    ServerState("max number of clients", "raise its maxclients, or end clients"),
    ServerState("CLUSTERDOWN", _CLUSTER, elsewhere=True, raised_as=exceptions.ClusterDownError),
    ServerState("MOVED", _CLUSTER, raised_as=exceptions.MovedError),
    ServerState("ASK", _CLUSTER, raised_as=exceptions.AskError),
    ServerState("CROSSSLOT", _CLUSTER, raised_as=exceptions.ClusterCrossSlotError),
    ServerState("TRYAGAIN", _CLUSTER, raised_as=exceptions.TryAgainError),
    ServerState(
        "NOSCRIPT", "its scripts were flushed meanwhile: try again", raised_as=exceptions.NoScriptError
    ),
    ServerState("do not hash to the same slot", _CLUSTER),
    ServerState("non local key", _CLUSTER),
    ServerState("unknown command 'WAITAOF'", _NO_WAITAOF),
    ServerState("unknown command `WAITAOF`", _NO_WAITAOF),
    ServerState(
        "appendonly is disabled",
        "DEVICE_STATUS_DURABILITY=fsync needs appendonly yes; set it, or change the setting",
    ),
    ServerState("cannot be used with replica instances", _REPLICA, elsewhere=True),
    ServerState("unknown command", _TOO_OLD),
    ServerState("command called from", _TOO_OLD),
    ServerState("DB index is out of range", "correct the number of the database in the URL"),
)
"""The first that fits counts: some classes are derived from others."""

_TEXTS: Final = re.compile(
    # As words: a code may stand behind the name of a script, and a dash before it.
    "|".join(rf"(?<![A-Z]){re.escape(state.code)}(?![A-Z])" for state in STATES)
)
_BY_CODE: Final = {state.code: state for state in STATES}

# What repeats arguments of the command, and so perhaps a message with its username.
_PIPELINE: Final = re.compile(r"^Command # \d+ \(.*?\) of pipeline caused error: ", re.DOTALL)
_ARGUMENTS: Final = re.compile(r", with args beginning with:.*", re.DOTALL)


def state_of(error: BaseException) -> ServerState | None:
    """The state that an error of redis-py, or one that it caused, tells of; None: another error."""
    for each in _chain(error):
        if isinstance(each, redis.RedisError):
            for state in STATES:
                if state.raised_as and isinstance(each, state.raised_as):
                    return state
            if found := _TEXTS.search(said(each)):
                return _BY_CODE[found[0]]
    return None


def is_about_data(error: redis.ResponseError) -> bool:
    """Whether a script, or what it found, is at fault; waiting would not help. All else is the server's."""
    text = said(error)
    return state_of(error) is None and ("user_script" in text or "WRONGTYPE" in text)


def explain(error: BaseException) -> str:
    """An error in one line that may be logged: what was said, and what to do if that is known."""
    return "; ".join(filter(None, (told(error), what_to_do(error))))


def told(error: BaseException) -> str:
    """What was said, after the name of the error; without passwords and what was sent."""
    chain = _chain(error)
    if (by_rabbitmq := next(filter(rabbitmq.is_its, chain), None)) is not None:
        return rabbitmq.said(by_rabbitmq)
    by_redis = (each for each in chain if isinstance(each, redis.RedisError))
    root = next(by_redis, next((each for each in chain if str(each)), error))
    silence = "no answer in time" if isinstance(root, TimeoutError) else ""
    return ": ".join(filter(None, (type(root).__name__, said(root) or silence)))


def what_to_do(error: BaseException) -> str | None:
    """What helps, if that is known."""
    if state := state_of(error):
        return state.what_to_do
    if (by_rabbitmq := next(filter(rabbitmq.is_its, _chain(error)), None)) is not None:
        return rabbitmq.what_to_do(by_rabbitmq)
    return next((text for each in _chain(error) if (text := advice(str(each)))), None)


def _chain(error: BaseException) -> list[BaseException]:
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and cause not in chain:
        chain.append(cause)
    return chain


def said(error: BaseException) -> str:
    """The text of an error in one line, less what may hold values."""
    if isinstance(error, redis.InvalidResponse):
        # Its text is whatever came from the server.
        return "its answer is not one of Redis"
    text = _ARGUMENTS.sub("", _PIPELINE.sub("", str(error)))
    return " ".join(cause(text).split())
