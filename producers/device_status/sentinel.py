"""Redis behind Sentinel, as one URL.

As `sentinel://:password@one:26379;sentinel://two:26379/0?master_name=mymaster`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

SCHEME: Final = "sentinel"
_PORT: Final = 26379
_MASTER: Final = "mymaster"


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """Where the sentinels are, and what they know the primary as."""

    hosts: tuple[tuple[str, int], ...]
    username: str | None
    password: str | None = field(repr=False)
    """Of Redis; the sentinels themselves are asked without one."""
    database: int
    master_name: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Credentials stand in the first part; database and master name in the last.

        Raises:
            ValueError: it is no such URL; the text says what is wrong and holds no password.
        """
        parts = [urlsplit(part) for part in url.split(";")]
        if any(part.scheme != SCHEME or not part.hostname for part in parts):
            raise ValueError("each part between semicolons must be sentinel://host:port")
        first, last = parts[0], parts[-1]
        database = last.path.strip("/") or "0"
        if not database.isdecimal():
            raise ValueError("the database at its end must be a number")
        query = parse_qs(last.query)
        if query.keys() - {"master_name"}:
            raise ValueError("it takes master_name and nothing else after the question mark")
        return cls(
            hosts=tuple((str(part.hostname), part.port or _PORT) for part in parts),
            username=unquote(first.username) if first.username else None,
            password=unquote(first.password) if first.password else None,
            database=int(database),
            master_name=query.get("master_name", [_MASTER])[0],
        )

    @property
    def kombu_url(self) -> str:
        """The same as kombu reads it; the master name is a transport option there."""
        credentials = ""
        if self.password:
            credentials = f"{quote(self.username or '', safe='')}:{quote(self.password, safe='')}@"
        return ";".join(f"{SCHEME}://{credentials}{host}:{port}/{self.database}" for host, port in self.hosts)
