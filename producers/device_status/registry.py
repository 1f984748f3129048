"""The registry: which workers run, with which settings, and what of these must not differ.

Each worker keeps its own entry in the ledger; one that is not renewed vanishes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from device_status import __version__
from device_status.command import Lane
from device_status.ledger import PREFIX, Ledger
from device_status.scripts import ledger_errors
from device_status.settings import Settings
from device_status.targets import OWN_ACCOUNT

HOLDS: Final = 60.0
"""Seconds after its last renewal at which an entry vanishes."""

_KEYS: Final = (f"{PREFIX}workers", f"{PREFIX}workers:seen")
_MAX_HOSTS_SHOWN: Final = 3
_CLOCK_TOLERANCE_MS: Final = 1000
"""An entry that was renewed later than now by more than this is of a clock that has since stepped back."""


class WorkerEntry(BaseModel):
    """What a worker says of itself. A reader ignores fields that it does not know: versions may differ."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: str
    """Of this package."""
    host: str
    """As Celery names it in the log, such as `celery@worker-1`."""
    lanes: tuple[str, ...]
    started_at: AwareDatetime
    """By the worker's own clock."""
    quotas: dict[str, dict[str, float]]
    """Requests a second, by target and category (a field of `Quotas`). A target is `OWN_ACCOUNT`, or an
    account's number and the pattern of its pools."""
    settings: dict[str, str]
    """By environment variable: what else must be the same everywhere, as text."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that must be the same on all workers and is not."""

    what: str
    """One line without hosts; the same for as long as the difference is."""
    text: str
    """One line with hosts, and what to do."""


def entry_of(settings: Settings, host: str, lanes: Iterable[Lane]) -> WorkerEntry:
    """The entry of the worker in this process, which starts now."""
    quotas = {OWN_ACCOUNT: settings.quotas}
    for pattern, account in settings.accounts.items():
        quotas[f"{account.number} ({pattern})"] = account.quotas_over(settings.quotas)
    roles = [[pattern, account.role_arn] for pattern, account in settings.accounts.items()]
    plain = settings.model_dump(mode="json")
    return WorkerEntry(
        version=__version__,
        host=host,
        lanes=tuple(lanes),
        started_at=datetime.now(UTC),
        quotas={target: asdict(each) for target, each in quotas.items()},
        settings={
            "DEVICE_STATUS_RETENTION": str(plain["retention"]),
            "DEVICE_STATUS_MAX_ATTEMPTS": str(plain["max_attempts"]),
            "DEVICE_STATUS_MAX_AGE": str(plain["max_age"]),
            "DEVICE_STATUS_DURABILITY": str(plain["durability"]),
            # Patterns and roles in their order; the quotas are compared by themselves.
            "DEVICE_STATUS_TARGETS": _digest(roles) if roles else "not set",
            # A URL may hold a token.
            "DEVICE_STATUS_INCIDENT_WEBHOOK": "set" if settings.incident_webhook else "not set",
        },
    )


def register(ledger: Ledger, worker_id: str, entry: WorkerEntry) -> list[WorkerEntry]:
    """Keep the entry for `HOLDS` seconds; returns those of all workers.

    Raises:
        LedgerUnavailableError, DeviceStatusError: as `Scripts.run`.
    """
    answer = ledger.scripts.run("register", _KEYS, worker_id, entry.model_dump_json(), int(HOLDS * 1000))
    return _readable(answer[1::2])


def deregister(ledger: Ledger, worker_id: str) -> None:
    """Take the entry away; the same errors."""
    ledger.scripts.run("deregister", _KEYS, worker_id)


def running(ledger: Ledger) -> list[WorkerEntry]:
    """The entries of workers that run, or were killed less than `HOLDS` seconds ago; the same errors."""
    with ledger_errors(), ledger.redis.pipeline() as pipe:
        pipe.time()
        pipe.hgetall(_KEYS[0])
        pipe.zrange(_KEYS[1], 0, -1, withscores=True)
        (seconds, microseconds), entries, seen = pipe.execute()
    now = int(seconds) * 1000 + int(microseconds) // 1000
    recent = {name for name, at in seen if now - HOLDS * 1000 < at <= now + _CLOCK_TOLERANCE_MS}
    return _readable(text for name, text in entries.items() if name in recent)


def differences(workers: Iterable[WorkerEntry]) -> list[Difference]:
    """What must be the same on all of these workers and is not."""
    found: dict[_Fact, _Values] = {}
    for worker in workers:
        for fact, value in _facts(worker):
            found.setdefault(fact, {}).setdefault(value, []).append(worker)
    return [_difference(*fact, found[fact]) for fact in sorted(found) if len(found[fact]) > 1]


def hosts_of(workers: Collection[WorkerEntry]) -> str:
    """Where they run, in a few words."""
    hosts = sorted(each.host for each in workers)
    more = len(hosts) - _MAX_HOSTS_SHOWN
    return ", ".join(hosts[:_MAX_HOSTS_SHOWN]) + (f" and {more} more" if more > 0 else "")


_Fact = tuple[str, str]
"""A target and a category of its quotas, or an empty text and a variable."""
_Values = dict[float | str, list[WorkerEntry]]
"""Who has each value; all are numbers, or all are texts."""


def _facts(worker: WorkerEntry) -> Iterator[tuple[_Fact, float | str]]:
    for target, quotas in worker.quotas.items():
        yield from (((target, category), quota) for category, quota in quotas.items())
    yield from ((("", variable), text) for variable, text in worker.settings.items())


def _difference(target: str, name: str, values: _Values) -> Difference:
    ordered = sorted(values.items(), key=lambda item: (item[0],))
    plain = ", ".join(_shown(value) for value, _ in ordered)
    where = "; ".join(f"{_shown(value)} on {hosts_of(workers)}" for value, workers in ordered)
    if not target:
        what = f"workers have different settings: {name}"
        return Difference(f"{what}: {plain}", f"{what} is {where}; give all of them the same")
    what = f"workers have different quotas for {name} of {target}"
    variable = "DEVICE_STATUS_TARGETS" if target != OWN_ACCOUNT else f"DEVICE_STATUS_{name.upper()}_QUOTA"
    return Difference(
        f"{what}: {plain}",
        f"{what}: {where}; the lowest of those that asked in the last minute holds; "
        f"give all of them the same {variable}",
    )


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _readable(texts: Iterable[str]) -> list[WorkerEntry]:
    workers = []
    for text in texts:
        try:
            workers.append(WorkerEntry.model_validate_json(text))
        except ValidationError:
            # Of a version that writes it in another way: nothing can be said of that worker.
            continue
    return workers


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
