"""The URLs of broker and ledger, read in one place and not by each library in its own way."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Self
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from device_status.tls import OPTIONS, Tls


class Kind(Enum):
    """What a URL leads to."""

    REDIS = auto()
    SOCKET = auto()
    """A Redis on this host."""
    SENTINELS = auto()
    """They know where the Redis is."""
    RABBITMQ = auto()


@dataclass(frozen=True, slots=True)
class _Scheme:
    kind: Kind
    port: int
    has_tls: bool = False


_SCHEMES: Final = {
    "redis": _Scheme(Kind.REDIS, 6379),
    "rediss": _Scheme(Kind.REDIS, 6379, has_tls=True),
    "unix": _Scheme(Kind.SOCKET, 0),
    "sentinel": _Scheme(Kind.SENTINELS, 26379),
    "rediss+sentinel": _Scheme(Kind.SENTINELS, 26379, has_tls=True),
    "amqp": _Scheme(Kind.RABBITMQ, 5672),
    "amqps": _Scheme(Kind.RABBITMQ, 5671, has_tls=True),
}
BROKER_SCHEMES: Final = tuple(name for name, each in _SCHEMES.items() if each.kind is not Kind.SOCKET)
LEDGER_SCHEMES: Final = tuple(name for name, each in _SCHEMES.items() if each.kind is not Kind.RABBITMQ)

_OPTIONS: Final = {Kind.SOCKET: ("db",), Kind.SENTINELS: ("master_name",)}
"""What a URL takes after its question mark, besides the options of TLS."""
_MASTER: Final = "mymaster"


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """A URL of broker or ledger; make it with `parse`."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    """Hosts and ports: of the sentinels, or of the nodes of RabbitMQ; else one."""
    username: str | None
    password: str | None = field(repr=False)
    """Of Redis; sentinels are asked without one. Each node of RabbitMQ has its own in `bare`."""
    database: int
    """0 for RabbitMQ."""
    master_name: str | None
    """What the sentinels know the primary as; None for other kinds."""
    tls: Tls | None
    """None: in the clear."""
    bare: str = field(repr=False)
    """The URL without its options; it holds passwords."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL whose scheme is known. Sentinels and nodes of RabbitMQ stand in a row, with semicolons
        between them: credentials in the first, database and options in the last.

        Raises:
            ValueError: says what is wrong and what to do; holds no password.
        """
        texts = url.split(";")
        parts = [_split(text) for text in texts]
        name = scheme(url)
        kind, has_tls = _SCHEMES[name].kind, _SCHEMES[name].has_tls
        if any(part.scheme != name for part in parts):
            raise ValueError(f"each part between semicolons must begin with {name}://")
        if len(parts) > 1 and kind in (Kind.REDIS, Kind.SOCKET):
            raise ValueError(f"{name}:// takes one server; percent-encode a ; in its password")
        if any(part.query for part in parts[:-1]):
            raise ValueError("options belong to the last of several parts")
        first, last = parts[0], parts[-1]
        if kind is Kind.SENTINELS and not all(part.hostname for part in parts):
            raise ValueError(f"each part between semicolons must be {name}://host:port")
        options = _options(last.query, kind, has_tls=has_tls)
        return cls(
            kind=kind,
            hosts=tuple((part.hostname or "localhost", part.port or _SCHEMES[name].port) for part in parts),
            username=unquote(first.username) if first.username else None,
            password=unquote(first.password) if first.password else None,
            database=_database(kind, last, options),
            master_name=options.get("master_name", _MASTER) if kind is Kind.SENTINELS else None,
            tls=Tls.from_options(options) if has_tls else None,
            bare=";".join(text.partition("?")[0] for text in texts),
        )

    @property
    def kombu_url(self) -> str:
        """As kombu reads it; master name and TLS are options of its connection."""
        if self.kind is not Kind.SENTINELS:
            return self.bare
        credentials = ""
        if self.password:
            credentials = f"{quote(self.username or '', safe='')}:{quote(self.password, safe='')}@"
        places = (f"{f'[{host}]' if ':' in host else host}:{port}" for host, port in self.hosts)
        return ";".join(f"sentinel://{credentials}{place}/{self.database}" for place in places)


def scheme(url: str) -> str:
    """The part before `://`."""
    return url.partition("://")[0] if "://" in url else ""


def without_password(url: str) -> str:
    """`url` as it may be shown: credentials replaced, query dropped (a query may hold a password).

    Works on what is not a valid URL as well, since that is when URLs are shown.
    """
    shown = []
    for one in url.split(";"):
        name, separator, rest = one.partition("://")
        _, at, place = rest.rpartition("@")
        shown.append(f"{name}{separator}{'***@' if at else ''}{place.partition('?')[0].partition('#')[0]}")
    return ";".join(shown)


def _split(text: str) -> SplitResult:
    # Python's parser and each client drop some of these, and not the same ones.
    if re.search(r"[\x00-\x20\x7f]", text):
        raise ValueError("is not a valid URL: percent-encode spaces and control characters")
    try:
        part = urlsplit(text)
        _ = part.port
    except ValueError:
        raise ValueError("is not a valid URL") from None
    if "%" in (part.hostname or ""):
        raise ValueError("is not a valid URL: there is a % in its host name")
    if "@" in part.path + part.query + part.fragment or part.fragment:
        raise ValueError("is not a valid URL: percent-encode / ? # [ ] @ ; in its password")
    return part


def _options(query: str, kind: Kind, *, has_tls: bool) -> dict[str, str]:
    allowed = _OPTIONS.get(kind, ()) + (OPTIONS if has_tls else ())
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    # What stands there is not repeated: it may be a part of a password.
    if not has_tls and not options.keys().isdisjoint(OPTIONS):
        raise ValueError("has options of TLS without TLS; use rediss://, rediss+sentinel:// or amqps://")
    if options.keys() - set(allowed) or not all(options.values()) or len(options) < len(pairs):
        takes = f"only {', '.join(allowed)}, each once and with a value" if allowed else "nothing"
        raise ValueError(f"has an option after the question mark that it does not take; it takes {takes}")
    return options


def _database(kind: Kind, last: SplitResult, options: dict[str, str]) -> int:
    if kind is Kind.RABBITMQ:
        return 0
    # redis-py and Celery read anything else each in their own way, and so as two databases.
    if kind is Kind.SOCKET:
        found = re.fullmatch(r"([0-9]*)", options.get("db", "0"))
    else:
        found = re.fullmatch(r"/?([0-9]*)", last.path)
    if not found:
        raise ValueError(
            "the database must be a number, as in redis://redis.internal/0 or unix:///run/redis.sock?db=0"
        )
    return int(found[1] or 0)
