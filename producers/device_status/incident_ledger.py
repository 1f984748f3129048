"""What the ledger keeps of incidents: the calls behind `Incidents`, each with its script's answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, Protocol

from device_status.command import Lane, Status
from device_status.incident import incident_key, latest_buckets
from device_status.ledger import AHEAD_MS, PREFIX, Ledger, gate_key, own_ms
from device_status.scripts import ledger_errors
from device_status.targets import Target

_PAGE: Final = 1000
_WALK: Final = 500

Fields = dict[str, str]


class KeptIncidents(Protocol):
    """What `Incidents` asks of a ledger, or of a memory that stands in for it (`device_status.testing`)."""

    def enter(
        self,
        incident_id: str,
        user_pool_id: str,
        status: Status,
        lane: Lane,
        reason: str,
        requested_by: str,
        *,
        all_users: bool,
        counts_only: bool,
    ) -> Sequence[str]:
        """Open or continue; answers as incident_open.lua."""

    def enter_users(self, incident_id: str, names: Sequence[str], *, given: bool) -> int:
        """Add users; answers as incident_users.lua."""

    def seal(self, incident_id: str, refused: int) -> None:
        """The input is complete."""

    def read(self, incident_id: str) -> tuple[Fields, Fields, Fields]:
        """Its fields, empty if there is no such incident; its timeline's latest entries; its verification."""

    def trouble(self, target: Target) -> str | None:
        """Why a gate before the target is paused, or None."""

    def ids(self) -> Iterable[str]:
        """Of the incidents, newest first."""

    def leave_out(self, incident_id: str) -> None:
        """Let `ids` no longer name it."""

    def set_state(self, incident_id: str, state: str) -> Sequence[str]:
        """Pause, resume or cancel; answers as incident_state.lua."""

    def start_verification(self, incident_id: str) -> Sequence[str]:
        """Let its users be listed again; answers as verify_start.lua."""


class IncidentLedger:
    """In Redis."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def enter(
        self,
        incident_id: str,
        user_pool_id: str,
        status: Status,
        lane: Lane,
        reason: str,
        requested_by: str,
        *,
        all_users: bool,
        counts_only: bool,
    ) -> Sequence[str]:
        """See `KeptIncidents`; so for the others."""
        answer: Sequence[str] = self._ledger.scripts.run(
            "incident_open",
            [incident_key(incident_id)],
            incident_id,
            user_pool_id,
            status,
            lane,
            reason,
            requested_by,
            self._ledger.retention_ms,
            int(all_users),
            int(counts_only),
            own_ms(),
            AHEAD_MS,
        )
        return answer

    def enter_users(self, incident_id: str, names: Sequence[str], *, given: bool) -> int:
        """Add users."""
        return int(self._ledger.scripts.run("incident_users", [], incident_id, int(given), *names))

    def seal(self, incident_id: str, refused: int) -> None:
        """The input is complete."""
        self._ledger.scripts.run("incident_seal", [], incident_id, refused)

    def read(self, incident_id: str) -> tuple[Fields, Fields, Fields]:
        """Fields, timeline, verification."""
        buckets = latest_buckets()
        with ledger_errors(), self._ledger.redis.pipeline() as pipe:
            pipe.hgetall(incident_key(incident_id))
            pipe.hmget(incident_key(incident_id, "timeline"), buckets)
            pipe.hgetall(incident_key(incident_id, "verification"))
            fields, counts, verification = pipe.execute()
        timeline = {bucket: count for bucket, count in zip(buckets, counts, strict=True) if count}
        return fields, timeline, verification

    def trouble(self, target: Target) -> str | None:
        """Why a gate before the target is paused."""
        with ledger_errors(), self._ledger.redis.pipeline() as pipe:
            pipe.time()
            for category in ("UserResourceUpdate", "UserResourceRead", "UserList"):
                pipe.hmget(gate_key(target, category), "paused_until", "why")
            (seconds, _), *gates = pipe.execute()
        return next((why for until, why in gates if until and int(until) > int(seconds) * 1_000_000), None)

    def ids(self) -> Sequence[str]:
        """Newest first."""
        with ledger_errors():
            names: Sequence[str] = self._ledger.redis.zrange(f"{PREFIX}incidents", 0, -1, desc=True)
        return names

    def leave_out(self, incident_id: str) -> None:
        """It was forgotten."""
        with ledger_errors():
            self._ledger.redis.zrem(f"{PREFIX}incidents", incident_id)

    def set_state(self, incident_id: str, state: str) -> Sequence[str]:
        """Pause, resume or cancel."""
        answer: Sequence[str] = self._ledger.scripts.run("incident_state", [], incident_id, state)
        if answer[0] == "changed" and state != "paused":
            walk(self._ledger, incident_id)
        return answer

    def start_verification(self, incident_id: str) -> Sequence[str]:
        """Let its users be listed again."""
        answer: Sequence[str] = self._ledger.scripts.run("verify_start", [], incident_id)
        if answer[0] == "started":
            self._verify_users(incident_id, answer[1])
        return answer

    def _verify_users(self, incident_id: str, run: str) -> None:
        scan = self._ledger.redis.hscan_iter(incident_key(incident_id, "outcomes"), count=_PAGE)
        with ledger_errors():
            names = (name for name, _ in scan)
            while page := list(islice(names, _PAGE)):
                self._ledger.scripts.run("verify_users", [], incident_id, run, 0, *page)
        self._ledger.scripts.run("verify_users", [], incident_id, run, 1)


def walk(ledger: Ledger, incident_id: str) -> None:
    """Let go, or cancel, what waits of an incident that was resumed or cancelled."""
    while ledger.scripts.run("incident_walk", [], incident_id, _WALK, ledger.retention_ms, own_ms()):
        pass
