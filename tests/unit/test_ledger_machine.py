"""The ledger's scripts, driven at random on a real Valkey beside a model in plain Python.

The model knows what must become of every command; after each step everything the server holds is
compared with it. The plain tests below say one promise each.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from device_status import DeadLetters, DeviceStatusCommand, Incidents, Lane, Settings, State
from device_status.incident import incident_key
from device_status.ledger import (
    DEVICE_DELAY,
    LATE,
    LEASE,
    PREFIX,
    Ledger,
    as_json,
    command_key,
    device_key,
    own_ms,
    parse_stored,
)
from device_status.outcomes import (
    Busy,
    Claimed,
    ClaimResult,
    Conflict,
    DeviceBusy,
    Done,
    Lost,
    Reserved,
    Waiting,
)
from support import device, make_command
from support.clock import let_time_pass, server_ms
from support.servers import Valkey

LANES: Final = (Lane.ROUTINE, Lane.BULK)
NOW: Final = datetime.now(UTC)


def _commands() -> tuple[list[DeviceStatusCommand], list[DeviceStatusCommand]]:
    """Few devices and few keys, so that commands meet: on a device, on a key, and in time.

    Returns what is common, and what is not.
    """
    common, odd = [], []
    for number in range(5):
        content = {
            "idempotency_key": f"key-{number}",
            # All of one device but the last.
            "device_key": device(number // 4),
            # 0 and 1 are of one moment, as are 2 and 3: the tie rule decides.
            "issued_at": NOW - timedelta(hours=1) + timedelta(seconds=number // 2),
            "status": ("remembered", "not_remembered")[number % 2],
        }
        opposite = {"remembered": "not_remembered", "not_remembered": "remembered"}[str(content["status"])]
        common.append(make_command(**content, command_id=f"key-{number}"))
        odd += [
            make_command(**content, command_id=f"repeat-{number}"),
            make_command(**content | {"status": opposite}, command_id=f"conflict-{number}"),
        ]
    content = {"device_key": device(0), "issued_at": NOW - timedelta(minutes=30)}
    odd += [
        make_command(**content | {"device_key": device(7)}, idempotency_key="key-0"),
        make_command(**content, idempotency_key="expired", expires_at=NOW - timedelta(minutes=1)),
        make_command(**content | {"issued_at": NOW + timedelta(hours=3)}, idempotency_key="future"),
        make_command(**content | {"issued_at": NOW - timedelta(days=8)}, idempotency_key="old"),
        make_command(**content, command_id="incident:INC-1:0123"),
        make_command(**content, command_id="forged", idempotency_key="repair:0123"),
        # A repeat of key-0 under a reserved id: the id is nothing to it.
        common[0].model_copy(update={"command_id": "incident:INC-1:4567"}),
    ]
    return common, odd


COMMON, ODD = _commands()


@dataclass
class Entry:
    """What the model knows of one idempotency key."""

    command: DeviceStatusCommand
    lane: Lane
    state: State = State.QUEUED
    place: str = "queued"
    attempts: int = 0
    applied: int = 0
    """Attempts after which it was applied, and must be applied once more; they count anew from there."""
    error_code: str = ""
    owner: str = ""
    lease_until: int = 0
    due: tuple[int, int] = (0, 0)
    """Earliest and latest server time at which the sweeper may take it first."""
    settled_by: str = ""


@dataclass
class Device:
    """What the model knows of one device."""

    fence: int | None = None
    applied: str = ""
    """Idempotency key of the command at the fence."""
    owner: str = ""
    lease_until: int = 0
    suspect_until: int = 0
    suspects: set[int] = field(default_factory=set)
    """Orders of commands of which a request may still take effect, until then."""

    def suspect(self, order: int, now: int) -> None:
        """A request of the command with this order left, and no answer came."""
        self.suspects = {order} | (self.suspects if self.suspect_until > now else set())
        self.suspect_until = now + int(LATE * 1000)


@dataclass
class Model:
    """What the ledger must hold."""

    entries: dict[str, Entry] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    dead: dict[Any, str] = field(default_factory=dict)
    """Error codes by idempotency key, or by the identity of a conflicting command."""

    def device(self, command: DeviceStatusCommand) -> Device:
        return self.devices.setdefault(command.device_hash, Device())

    def enter(self, command: DeviceStatusCommand, lane: Lane, now: int) -> State | Conflict | Reserved | None:
        entry = self.entries.get(command.idempotency_key)
        identity = (command.idempotency_key, command.command_id, command.fingerprint)
        is_reserved = command.command_id.startswith("incident:") or command.command_id == "forged"
        if is_reserved and (entry is None or entry.command.fingerprint != command.fingerprint):
            self.dead.setdefault(identity, "ReservedId")
            return Reserved()
        if entry is None:
            self.entries[command.idempotency_key] = Entry(command, lane)
            return None
        if entry.command.fingerprint != command.fingerprint:
            self.dead.setdefault(identity, "IdempotencyConflict")
            return Conflict()
        if entry.state is State.CLAIMED and entry.lease_until <= now:
            entry.place = "queued"
            return State.QUEUED
        return entry.state

    def claim(self, command: DeviceStatusCommand, lane: Lane, now: int) -> ClaimResult | type[Claimed]:
        """What a claim must answer; `Claimed` itself stands for a lease to somebody."""
        # A claim enters what no producer did; what runs out of its lease it takes over itself.
        refused = self.enter(command, lane, now=0)
        if isinstance(refused, Conflict | Reserved):
            return refused
        entry, place = self.entries[command.idempotency_key], self.device(command)
        if entry.state.is_outcome:
            return Done(entry.state, entry.error_code)
        if entry.state is State.CLAIMED and entry.lease_until > now:
            return Busy()
        if command.idempotency_key == "expired":
            return self._finish(entry, State.EXPIRED)
        if command.idempotency_key in {"future", "old"}:
            return self._die(entry, {"future": "IssuedInFuture", "old": "TooOld"}[command.idempotency_key])
        # A lease that ran out counts, whatever became of the device since.
        entry.attempts += entry.state is State.CLAIMED
        if place.fence is not None and command.order < place.fence:
            return self._finish(entry, State.SUPERSEDED)
        if place.owner and place.lease_until > now:
            self.wait(entry)
            return DeviceBusy()
        return Claimed

    def claimed(self, entry: Entry, owner: str, lease_until: int) -> None:
        entry.state, entry.place, entry.owner, entry.lease_until = State.CLAIMED, "open", owner, lease_until
        entry.due = (lease_until, lease_until)
        holder = self.device(entry.command)
        holder.owner, holder.lease_until = owner, lease_until

    def settle(
        self,
        claim: Claimed,
        state: State,
        now: int,
        *,
        attempt: bool = True,
        error_code: str = "",
        in_doubt: bool = False,
    ) -> str:
        """`settled`; `again`: to be applied once more; `repeated` by the same owner, or `lost`: no change."""
        entry = self.entries.get(claim.command.idempotency_key)
        if entry is not None and entry.settled_by == claim.owner:
            return "repeated"
        if entry is None or entry.state is not State.CLAIMED or entry.owner != claim.owner:
            return "lost"
        holder, order = self.device(entry.command), entry.command.order
        if holder.owner != claim.owner:
            return "lost"
        entry.settled_by = claim.owner
        entry.attempts += attempt
        entry.error_code = error_code
        holder.owner, holder.lease_until = "", 0
        if in_doubt:
            holder.suspect(order, now)
        if state is State.DEAD_LETTERED:
            self._die(entry, error_code)
        elif state is State.RETRY_WAIT:
            self.wait(entry)
        else:
            if order > (holder.fence or 0):
                holder.fence, holder.applied = order, entry.command.idempotency_key
            if holder.suspect_until > now and holder.suspects != {order}:
                entry.applied = entry.attempts
                self.wait(entry)
                return "again"
            self._finish(entry, state)
        return "settled"

    def repair(self, claim: Claimed, now: int) -> Entry | None:
        """The entry whose command must be applied once more, if a late request may have undone it."""
        holder = self.device(claim.command)
        holder.suspect(claim.command.order, now)
        if (holder.fence or 0) <= claim.command.order or f"repair:{claim.owner}" in self.entries:
            return None
        newest = self.entries.get(holder.applied)
        return newest if newest is not None and newest.state.is_outcome else None

    def redrive(self, key: str) -> None:
        del self.dead[key]
        self.entries[key] = Entry(self.entries[key].command, self.entries[key].lane)

    def wait(self, entry: Entry) -> None:
        entry.state, entry.place, entry.owner, entry.lease_until = State.RETRY_WAIT, "open", "", 0

    def _finish(self, entry: Entry, outcome: State) -> Done:
        entry.state, entry.place, entry.lease_until = outcome, "", 0
        return Done(outcome)

    def _die(self, entry: Entry, error_code: str) -> Done:
        self._finish(entry, State.DEAD_LETTERED)
        entry.error_code = error_code
        self.dead.setdefault(entry.command.idempotency_key, error_code)
        return Done(State.DEAD_LETTERED, error_code)

    def pass_time(self, ms: int) -> None:
        for entry in self.entries.values():
            entry.lease_until -= ms if entry.lease_until else 0
            entry.due = (entry.due[0] - ms, entry.due[1] - ms)
        for holder in self.devices.values():
            holder.lease_until -= ms if holder.lease_until else 0
            holder.suspect_until -= ms if holder.suspect_until else 0


# Everything the server holds, in one answer: {key: hash as a list, or members of a sorted set}.
_DUMP: Final = """
local held = {}
for _, key in ipairs(redis.call('KEYS', 'device-status:*')) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'hash' then held[key] = redis.call('HGETALL', key) end
  if kind == 'zset' then held[key] = redis.call('ZRANGE', key, 0, -1) end
end
held['now'] = redis.call('TIME')
return cjson.encode(held)
"""


class Held:
    """What the server holds, by kind."""

    def __init__(self, dump: dict[str, list[str]]) -> None:
        seconds, microseconds = dump.pop("now")
        self.now = int(seconds) * 1000 + int(microseconds) // 1000
        self.dead = set(dump.pop(f"{PREFIX}dead", []))
        self.aging = set(dump.pop(f"{PREFIX}dead:aging", []))
        counts = dump.pop(f"{PREFIX}dead:by-error", [])
        self.counts = dict(zip(counts[::2], counts[1::2], strict=True))
        self.entries: dict[str, dict[str, str]] = {}
        self.devices: dict[str, dict[str, str]] = {}
        self.letters: dict[str, dict[str, str]] = {}
        self.places: dict[str, set[str]] = {}
        hashes = {"command": self.entries, "device": self.devices, "dead-letter": self.letters}
        for key, values in dump.items():
            kind, _, name = key.removeprefix(PREFIX).partition(":")
            if kind in hashes:
                hashes[kind][name] = dict(zip(values[::2], values[1::2], strict=True))
            else:
                self.places[f"{kind}:{name}"] = set(values)


class LedgerMachine(RuleBasedStateMachine):
    """Producers, workers, crashes, a sweeper and an operator, in any order."""

    server: Valkey

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(self.server.url)
        self.redis = self.ledger.redis
        self.redis.flushall()
        self.model = Model()
        self.outcomes: dict[str, State] = {}
        self.fences: dict[str, int] = {}

    def teardown(self) -> None:
        self.redis.close()

    claims: Bundle[Claimed] = Bundle("claims")
    repairs: Bundle[DeviceStatusCommand] = Bundle("repairs")
    commands = st.sampled_from([*COMMON * 6, *ODD])
    lanes = st.sampled_from(LANES)

    @rule(commands=st.lists(commands, min_size=1, max_size=5), lane=lanes)
    def enter(self, commands: list[DeviceStatusCommand], lane: Lane) -> None:
        now = server_ms(self.redis)
        expected = [self.model.enter(command, lane, now) for command in commands]
        assert self.ledger.enter(commands, lane) == expected

    @rule(target=claims, command=commands, lane=lanes)
    def claim(self, command: DeviceStatusCommand, lane: Lane) -> Any:
        return self._claim(command, lane)

    @rule(target=claims, command=commands, in_doubt=st.booleans())
    def work(self, command: DeviceStatusCommand, in_doubt: bool) -> Any:
        """A worker's usual way: it succeeds, or no answer comes."""
        claim = self._claim(command, Lane.ROUTINE)
        if isinstance(claim, Claimed):
            if in_doubt:
                self._retry(claim, due_in=5, attempt=True, in_doubt=True)
            else:
                self._succeed(claim)
        return claim

    @rule(target=claims, command=repairs)
    def claim_repair(self, command: DeviceStatusCommand) -> Any:
        return self._claim(command, Lane.ROUTINE)

    def _claim(self, command: DeviceStatusCommand, lane: Lane) -> Any:
        key = command.idempotency_key
        fence = self.model.device(command).fence
        before = server_ms(self.redis)
        expected = self.model.claim(command, lane, before)
        result = self.ledger.claim(command, lane)
        after = server_ms(self.redis)
        if isinstance(expected, Reserved):
            assert result == expected
            return multiple()
        entry = self.model.entries[key]
        if isinstance(result, Claimed):
            assert expected is Claimed
            assert fence is None or command.order >= fence, "below the fence, and claimed"
            lease_until = int(self.redis.hget(command_key(key), "lease_until"))
            assert before <= lease_until - LEASE * 1000 <= after
            self.model.claimed(entry, result.owner, lease_until)
            assert result.attempts == entry.attempts - entry.applied
            return result
        if isinstance(result, DeviceBusy):
            entry.due = (before + int(DEVICE_DELAY * 1000), after + int(DEVICE_DELAY * 1000))
        if isinstance(result, Done) and result.outcome in {State.EXPIRED, State.SUPERSEDED}:
            # Whether an earlier error is told with it is a promise of its own, below.
            assert isinstance(expected, Done)
            assert result.outcome is expected.outcome
        else:
            assert result == expected
        return multiple()

    @rule(target=claims, command=commands)
    def stall(self, command: DeviceStatusCommand) -> Any:
        """A worker claims and is heard of no more, until its lease is over."""
        claim = self._claim(command, Lane.ROUTINE)
        self.time_passes(61)
        return claim

    @rule(claim=claims)
    def succeed(self, claim: Claimed) -> None:
        self._succeed(claim)

    def _succeed(self, claim: Claimed) -> None:
        expected = self.model.settle(claim, State.SUCCEEDED, server_ms(self.redis))
        result = self.ledger.succeed(claim, "request")
        if expected == "again":
            assert isinstance(result, Waiting)
            assert 0 < result.due_in <= LATE
            due = self._read_suspicion(claim)
            self.model.entries[claim.command.idempotency_key].due = (due, due)
        else:
            assert result == (Lost() if expected == "lost" else Done(State.SUCCEEDED))

    @rule(
        claim=claims,
        code=st.sampled_from(["UserNotFoundException", "RetriesExhausted"]),
        in_doubt=st.booleans(),
    )
    def dead_letter(self, claim: Claimed, code: str, in_doubt: bool) -> None:
        now = server_ms(self.redis)
        expected = self.model.settle(claim, State.DEAD_LETTERED, now, error_code=code, in_doubt=in_doubt)
        result = self.ledger.dead_letter(claim, code, "why", in_doubt=in_doubt)
        assert result == (Lost() if expected == "lost" else Done(State.DEAD_LETTERED, code))
        if expected == "settled" and in_doubt:
            self._read_suspicion(claim)

    @rule(claim=claims, due_in=st.sampled_from([0, 5, 45]), attempt=st.booleans(), in_doubt=st.booleans())
    def retry(self, claim: Claimed, due_in: int, attempt: bool, in_doubt: bool) -> None:
        self._retry(claim, due_in, attempt, in_doubt)

    def _retry(self, claim: Claimed, due_in: int, attempt: bool, in_doubt: bool) -> None:
        now = server_ms(self.redis)
        expected = self.model.settle(
            claim, State.RETRY_WAIT, now, attempt=attempt, error_code="Again", in_doubt=in_doubt
        )
        result = self.ledger.retry(claim, due_in, "Again", "why", attempt=attempt, in_doubt=in_doubt)
        assert result == (Lost() if expected == "lost" else Waiting("Again", due_in))
        if expected == "settled":
            entry = self.model.entries[claim.command.idempotency_key]
            entry.due = (now + due_in * 1000, server_ms(self.redis) + due_in * 1000)
            if in_doubt:
                self._read_suspicion(claim)

    @rule(target=repairs, claim=claims)
    def a_late_request_left(self, claim: Claimed) -> Any:
        """Under a claim that was over: its owner finds it lost."""
        held = self.model.entries.get(claim.command.idempotency_key)
        if held is not None and claim.owner in {held.owner, held.settled_by}:
            return multiple()
        newest = self.model.repair(claim, server_ms(self.redis))
        repair = self.ledger.repair(claim)
        self._read_suspicion(claim)
        if newest is None:
            assert repair is None
            return multiple()
        assert repair is not None
        assert repair.lane is newest.lane
        command = parse_stored(repair.command)
        assert command is not None
        assert command.idempotency_key == f"repair:{claim.owner}"
        assert (command.fingerprint, command.order) == (newest.command.fingerprint, newest.command.order)
        self.model.enter(command, repair.lane, now=0)
        return command

    def _read_suspicion(self, claim: Claimed) -> int:
        """The server's clock may have gone on since the model looked at it."""
        until = int(self.redis.hget(device_key(claim.command), "suspect_until"))
        holder = self.model.device(claim.command)
        assert 0 <= until - holder.suspect_until < 1000
        holder.suspect_until = until
        return until

    @rule(seconds=st.sampled_from([2, 7, 25, 61]))
    def time_passes(self, seconds: int) -> None:
        let_time_pass(self.redis, seconds)
        self.model.pass_time(seconds * 1000)
        for device_hash, holder in self.model.devices.items():
            if not self.redis.exists(f"{PREFIX}device:{device_hash}"):
                assert holder.lease_until <= server_ms(self.redis), "a leased device was forgotten"
                holder.owner = ""

    @rule(lane=lanes)
    def sweep(self, lane: Lane) -> None:
        before = server_ms(self.redis)
        published = self.ledger.scripts.run("sweep", [], lane, 500, 0, own_ms())
        after = server_ms(self.redis)
        taken = set()
        for key, entry in self.model.entries.items():
            is_back = self.redis.zscore(f"{PREFIX}queued:{lane}", key) is not None
            if entry.place == "open" and entry.lane is lane and entry.due[0] <= after and is_back:
                entry.place = "queued"
                taken.add(key)
                if entry.state is State.RETRY_WAIT:
                    entry.state = State.QUEUED
            assert not (entry.place == "open" and entry.lane is lane and entry.due[1] <= before), "not swept"
        assert sorted(published) == sorted(self.redis.hget(command_key(key), "command") for key in taken)

    @rule(data=st.data())
    def redrive(self, data: st.DataObject) -> None:
        letter = data.draw(st.sampled_from([*self.model.dead, "no such letter"]))
        known = self.redis.zrange(f"{PREFIX}dead", 0, -1)
        if isinstance(letter, tuple):
            refused = next(letter_id for letter_id in known if letter_id not in self.model.entries)
            answer = self.ledger.scripts.run("redrive", [], refused)
            assert answer in (["not_redrivable", "IdempotencyConflict"], ["not_redrivable", "ReservedId"])
        elif letter == "no such letter":
            assert self.ledger.scripts.run("redrive", [], letter) == ["unknown"]
        else:
            entry = self.model.entries[letter]
            answer = self.ledger.scripts.run("redrive", [], letter)
            assert answer[:2] == ["redriven", entry.lane]
            self.model.redrive(letter)
            self.outcomes.pop(letter)

    @rule()
    def purge(self) -> None:
        assert self.ledger.scripts.run("purge", [], "dead", 0, 500, own_ms()) == len(self.model.dead)
        self.model.dead.clear()

    @invariant()
    def every_promise_holds(self) -> None:
        held = Held(json.loads(self.redis.eval(_DUMP, 0)))
        self.check_that_the_ledger_is_as_the_model_says(held)
        self.check_that_an_outcome_stays(held)
        self.check_that_a_command_and_a_device_have_one_live_owner_at_most(held)
        self.check_that_a_fence_never_falls(held)
        self.check_that_what_is_open_stands_in_one_place_and_what_is_done_in_none(held)
        self.check_that_dead_letters_and_their_counts_are_exact(held)

    def check_that_the_ledger_is_as_the_model_says(self, held: Held) -> None:
        assert held.entries.keys() == self.model.entries.keys()
        for key, entry in self.model.entries.items():
            fields = held.entries[key]
            assert (fields["state"], int(fields["attempts"])) == (entry.state, entry.attempts), key
            assert (fields["fingerprint"], fields["lane"]) == (entry.command.fingerprint, entry.lane)

    def check_that_an_outcome_stays(self, held: Held) -> None:
        for key, fields in held.entries.items():
            state = State(fields["state"])
            assert state is self.outcomes.get(key, state)
            if state.is_outcome:
                self.outcomes[key] = state

    def check_that_a_command_and_a_device_have_one_live_owner_at_most(self, held: Held) -> None:
        live: dict[str, list[str]] = {}
        for key, fields in held.entries.items():
            if fields["state"] == "claimed" and int(fields["lease_until"]) > held.now:
                live.setdefault(self.model.entries[key].command.device_hash, []).append(fields["owner"])
        for device_hash, owners in live.items():
            assert owners == [held.devices[device_hash]["owner"]]

    def check_that_a_fence_never_falls(self, held: Held) -> None:
        for device_hash, place in self.model.devices.items():
            fence = int(held.devices.get(device_hash, {}).get("applied_at", 0))
            assert fence == (place.fence or 0)
            assert fence >= self.fences.get(device_hash, 0)
            self.fences[device_hash] = fence

    def check_that_what_is_open_stands_in_one_place_and_what_is_done_in_none(self, held: Held) -> None:
        expected: dict[str, set[str]] = {}
        for key, entry in self.model.entries.items():
            if entry.place:
                expected.setdefault(f"{entry.place}:{entry.lane}", set()).add(key)
        assert held.places == expected

    def check_that_dead_letters_and_their_counts_are_exact(self, held: Held) -> None:
        codes = [fields["error_code"] for fields in held.letters.values()]
        assert sorted(codes) == sorted(self.model.dead.values())
        assert {key for key in self.model.dead if isinstance(key, str)} <= held.letters.keys()
        assert held.dead == held.aging == held.letters.keys()
        assert held.counts == {code: str(codes.count(code)) for code in codes}


def test_no_order_of_events_breaks_the_ledger(valkey: Valkey) -> None:
    machine = type("Machine", (LedgerMachine,), {"server": valkey})
    hypothesis.stateful.run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(max_examples=60, stateful_step_count=40, deadline=None),
    )


class ClaimOne(Protocol):
    """Claims and says with what; fails where it is not leased."""

    def __call__(self, command: DeviceStatusCommand) -> Claimed: ...


@pytest.fixture
def claim(ledger: Ledger) -> ClaimOne:
    def claim_one(command: DeviceStatusCommand) -> Claimed:
        result = ledger.claim(command, Lane.ROUTINE)
        assert isinstance(result, Claimed), result
        return result

    return claim_one


def state_of(ledger: Ledger, command: DeviceStatusCommand) -> State:
    record = ledger.lookup(command.command_id)
    assert record is not None
    return record.state


def expire(ledger: Ledger, command: DeviceStatusCommand) -> DeviceStatusCommand:
    """Let the command be one whose `expires_at` has passed since it was entered."""
    expired = command.model_copy(update={"expires_at": datetime.now(UTC) - timedelta(seconds=1)})
    ledger.redis.hset(command_key(command.idempotency_key), "command", as_json(expired))
    return expired


class TestNoCall:
    """Commands that end without a call."""

    def test_past_its_expiry_a_command_is_expired(self, ledger: Ledger) -> None:
        command = make_command(expires_at=datetime.now(UTC) - timedelta(milliseconds=1))
        assert ledger.claim(command, Lane.ROUTINE) == Done(State.EXPIRED)

    def test_before_its_expiry_it_is_claimed(self, claim: ClaimOne) -> None:
        assert claim(make_command(expires_at=datetime.now(UTC) + timedelta(minutes=1)))

    def test_issued_more_than_five_minutes_ahead_it_is_a_dead_letter(self, ledger: Ledger) -> None:
        command = make_command(issued_at=datetime.now(UTC) + timedelta(minutes=5, seconds=5))
        assert ledger.claim(command, Lane.ROUTINE) == Done(State.DEAD_LETTERED, "IssuedInFuture")

    def test_a_clock_that_runs_a_little_ahead_is_forgiven(self, claim: ClaimOne) -> None:
        assert claim(make_command(issued_at=datetime.now(UTC) + timedelta(minutes=4, seconds=55)))

    def test_issued_before_the_retention_it_is_a_dead_letter(self, ledger: Ledger) -> None:
        command = make_command(issued_at=datetime.now(UTC) - timedelta(days=7, seconds=5))
        assert ledger.claim(command, Lane.ROUTINE) == Done(State.DEAD_LETTERED, "TooOld")

    def test_issued_within_the_retention_it_is_claimed(self, claim: ClaimOne) -> None:
        assert claim(make_command(issued_at=datetime.now(UTC) - timedelta(days=7) + timedelta(minutes=1)))


class TestOrderOfOneDevice:
    """A device ends in the status of its newest command."""

    def test_an_older_command_never_wins(self, ledger: Ledger, claim: ClaimOne) -> None:
        now = datetime.now(UTC)
        newer = make_command(issued_at=now)
        older = make_command(issued_at=now - timedelta(microseconds=1), status="remembered")
        ledger.succeed(claim(newer), "r")
        assert ledger.claim(older, Lane.ROUTINE) == Done(State.SUPERSEDED)

    def test_on_a_tie_not_remembered_wins_when_it_comes_first(self, ledger: Ledger, claim: ClaimOne) -> None:
        now = datetime.now(UTC)
        ledger.succeed(claim(make_command(issued_at=now, status="not_remembered")), "r")
        other = make_command(issued_at=now, status="remembered")
        assert ledger.claim(other, Lane.ROUTINE) == Done(State.SUPERSEDED)

    def test_on_a_tie_not_remembered_wins_when_it_comes_last(self, ledger: Ledger, claim: ClaimOne) -> None:
        now = datetime.now(UTC)
        ledger.succeed(claim(make_command(issued_at=now, status="remembered")), "r")
        assert claim(make_command(issued_at=now, status="not_remembered"))

    def test_an_older_success_that_is_told_late_does_not_lower_the_fence(
        self, ledger: Ledger, claim: ClaimOne
    ) -> None:
        now = datetime.now(UTC)
        late = claim(make_command(issued_at=now - timedelta(hours=2)))
        let_time_pass(ledger.redis, LEASE + 1)
        ledger.succeed(claim(make_command(issued_at=now)), "r")
        ledger.succeed(late, "r")
        between = make_command(issued_at=now - timedelta(hours=1))
        assert ledger.claim(between, Lane.ROUTINE) == Done(State.SUPERSEDED)

    def test_what_did_not_succeed_shuts_nobody_out(self, ledger: Ledger, claim: ClaimOne) -> None:
        now = datetime.now(UTC)
        ledger.dead_letter(claim(make_command(issued_at=now)), "UserNotFoundException", "why")
        assert claim(make_command(issued_at=now - timedelta(hours=1)))

    def test_another_device_of_the_same_user_is_not_concerned(self, ledger: Ledger, claim: ClaimOne) -> None:
        now = datetime.now(UTC)
        ledger.succeed(claim(make_command(issued_at=now)), "r")
        assert claim(make_command(issued_at=now - timedelta(hours=1), device_key=device(2)))

    def test_the_fence_outlives_every_older_command_that_is_still_accepted(
        self, ledger: Ledger, claim: ClaimOne
    ) -> None:
        # Issued as far ahead as is forgiven, and applied now: older ones are accepted for the retention
        # after their own issue.
        newer = make_command(issued_at=datetime.now(UTC) + timedelta(minutes=4))
        ledger.succeed(claim(newer), "r")
        assert ledger.redis.pttl(device_key(newer)) == -1
        let_time_pass(ledger.redis, 300)
        ledger.scripts.run("release_fences", [], 10, ledger.retention_ms)
        left = ledger.redis.pttl(device_key(newer)) / 1000
        assert left > (ledger.retention + timedelta(minutes=5)).total_seconds()

    def test_a_repeat_with_a_later_time_does_not_overtake_a_newer_command(
        self, ledger: Ledger, claim: ClaimOne
    ) -> None:
        """The same idempotency key and content are the same command, whenever the repeat was made."""
        start = datetime.now(UTC) - timedelta(minutes=10)
        first = make_command(idempotency_key="one", status="remembered", issued_at=start)
        newer = make_command(
            idempotency_key="two", status="not_remembered", issued_at=start + timedelta(minutes=1)
        )
        repeat = make_command(
            idempotency_key="one", status="remembered", issued_at=start + timedelta(minutes=2)
        )
        for command in (first, newer, repeat):
            ledger.enter([command], Lane.ROUTINE)
        ledger.succeed(claim(repeat), "r")
        assert isinstance(ledger.claim(newer, Lane.ROUTINE), Claimed)


class TestSameKey:
    """The same idempotency key is the same command, or a conflict."""

    def test_a_repeat_gets_the_first_outcome(self, ledger: Ledger, claim: ClaimOne) -> None:
        ledger.succeed(claim(make_command(idempotency_key="one")), "r")
        repeat = make_command(idempotency_key="one")
        assert ledger.enter([repeat], Lane.BULK) == [State.SUCCEEDED]
        assert ledger.claim(repeat, Lane.BULK) == Done(State.SUCCEEDED)

    def test_a_repeat_gets_the_first_dead_letters_reason(self, ledger: Ledger, claim: ClaimOne) -> None:
        ledger.dead_letter(claim(make_command(idempotency_key="one")), "UserNotFoundException", "why")
        repeat = make_command(idempotency_key="one")
        assert ledger.claim(repeat, Lane.ROUTINE) == Done(State.DEAD_LETTERED, "UserNotFoundException")

    @pytest.mark.parametrize("outcome", [State.EXPIRED, State.SUPERSEDED])
    def test_a_repeat_gets_the_same_answer_as_the_first(
        self, ledger: Ledger, claim: ClaimOne, outcome: State
    ) -> None:
        command = make_command(issued_at=datetime.now(UTC) - timedelta(minutes=1), idempotency_key="one")
        ledger.retry(claim(command), 0, "InternalErrorException", "why", attempt=True)
        if outcome is State.EXPIRED:
            command = expire(ledger, command)
        else:
            ledger.succeed(claim(make_command(idempotency_key="two")), "r")
        first = ledger.claim(command, Lane.ROUTINE)
        assert isinstance(first, Done)
        assert first.outcome is outcome
        assert ledger.claim(command, Lane.ROUTINE) == first

    def test_other_content_is_a_conflict_and_a_dead_letter(self, ledger: Ledger) -> None:
        ledger.enter([make_command(idempotency_key="one")], Lane.ROUTINE)
        other = make_command(idempotency_key="one", device_key=device(2))
        assert ledger.enter([other], Lane.ROUTINE) == [Conflict()]
        assert ledger.claim(other, Lane.ROUTINE) == Conflict()
        record = ledger.lookup(other.command_id)
        assert record is not None
        assert (record.state, record.error_code) == (State.DEAD_LETTERED, "IdempotencyConflict")
        assert record.command == other

    def test_a_conflict_does_not_touch_the_first_command(self, ledger: Ledger, claim: ClaimOne) -> None:
        first = make_command(idempotency_key="one")
        held = claim(first)
        ledger.claim(make_command(idempotency_key="one", status="remembered"), Lane.ROUTINE)
        assert state_of(ledger, first) is State.CLAIMED
        assert ledger.succeed(held, "r") == Done(State.SUCCEEDED)

    def test_a_conflict_that_comes_again_is_one_dead_letter(self, ledger: Ledger) -> None:
        ledger.enter([make_command(idempotency_key="one")], Lane.ROUTINE)
        other = make_command(idempotency_key="one", device_key=device(2))
        for _ in range(3):
            ledger.claim(other, Lane.ROUTINE)
        assert ledger.redis.hgetall(f"{PREFIX}dead:by-error") == {"IdempotencyConflict": "1"}

    def test_twice_in_one_batch_it_is_entered_once(self, ledger: Ledger) -> None:
        twice = [make_command(idempotency_key="one"), make_command(idempotency_key="one")]
        assert ledger.enter(twice, Lane.BULK) == [None, State.QUEUED]
        assert ledger.open_count()[Lane.BULK] == 1


class TestLookUp:
    def test_a_command_is_found_by_its_id_under_another_key(self, ledger: Ledger) -> None:
        command = make_command(idempotency_key="order-17")
        ledger.enter([command], Lane.ROUTINE)
        record = ledger.lookup(command.command_id)
        assert record is not None
        assert (record.command, record.lane) == (command, Lane.ROUTINE)

    def test_so_is_one_that_no_producer_entered(self, ledger: Ledger, claim: ClaimOne) -> None:
        command = make_command(idempotency_key="order-17")
        claim(command)
        assert state_of(ledger, command) is State.CLAIMED

    def test_a_repeat_finds_the_first_command(self, ledger: Ledger) -> None:
        first, repeat = make_command(idempotency_key="one"), make_command(idempotency_key="one")
        for command in (first, repeat):
            ledger.enter([command], Lane.ROUTINE)
        record = ledger.lookup(repeat.command_id)
        assert record is not None
        assert record.command_id == first.command_id

    def test_a_command_whose_id_is_anothers_key_is_still_found(self, ledger: Ledger) -> None:
        one = make_command(command_id="x", idempotency_key="y")
        other = make_command(command_id="y", idempotency_key="x", device_key=device(2))
        ledger.enter([one, other], Lane.ROUTINE)
        for command in (one, other):
            record = ledger.lookup(command.command_id)
            assert record is not None
            assert record.command == command

    def test_what_is_unknown_is_none(self, ledger: Ledger) -> None:
        assert ledger.lookup("no such command") is None

    def test_an_outcome_is_forgotten_after_the_retention(self, ledger: Ledger, claim: ClaimOne) -> None:
        command = make_command(idempotency_key="one")
        ledger.succeed(claim(command), "r")
        let_time_pass(ledger.redis, (ledger.retention - timedelta(minutes=1)).total_seconds())
        assert state_of(ledger, command) is State.SUCCEEDED
        let_time_pass(ledger.redis, 120)
        assert ledger.lookup(command.command_id) is None

    def test_a_command_without_an_outcome_is_never_forgotten(self, ledger: Ledger) -> None:
        command = make_command()
        ledger.enter([command], Lane.ROUTINE)
        let_time_pass(ledger.redis, 10 * ledger.retention.total_seconds())
        assert state_of(ledger, command) is State.QUEUED

    def test_the_record_tells_the_whole_way(self, ledger: Ledger, claim: ClaimOne) -> None:
        command = make_command()
        ledger.retry(claim(command), 0, "InternalErrorException", "try again", "request-1", attempt=True)
        record = ledger.lookup(command.command_id)
        assert record is not None
        assert (record.state, record.outcome, record.attempts) == (State.RETRY_WAIT, None, 1)
        assert (record.error_code, record.error_message) == ("InternalErrorException", "try again")
        assert (record.request_id, record.finished_at) == ("request-1", None)

    def test_a_success_holds_no_error_of_an_earlier_attempt(self, ledger: Ledger, claim: ClaimOne) -> None:
        command = make_command()
        ledger.retry(claim(command), 0, "InternalErrorException", "try again", "request-1", attempt=True)
        ledger.succeed(claim(command), "request-2")
        record = ledger.lookup(command.command_id)
        assert record is not None
        assert (record.outcome, record.error_code, record.error_message) == (State.SUCCEEDED, None, None)
        assert (record.request_id, record.attempts) == ("request-2", 2)
        assert record.finished_at is not None


class TestLeases:
    """A claim belongs to one owner, and ends with its lease."""

    def test_a_claimed_command_is_left_to_its_owner(self, ledger: Ledger, claim: ClaimOne) -> None:
        command = make_command()
        claim(command)
        assert ledger.claim(command, Lane.ROUTINE) == Busy()

    def test_a_leased_device_makes_the_next_command_wait(self, ledger: Ledger, claim: ClaimOne) -> None:
        claim(make_command())
        other = make_command()
        assert ledger.claim(other, Lane.ROUTINE) == DeviceBusy()
        assert state_of(ledger, other) is State.RETRY_WAIT

    def test_a_settled_device_is_free_at_once(self, ledger: Ledger, claim: ClaimOne) -> None:
        ledger.retry(claim(make_command()), 60, "TooManyRequestsException", "later")
        assert claim(make_command())

    def test_taking_over_a_lease_that_ran_out_counts_an_attempt(
        self, ledger: Ledger, claim: ClaimOne
    ) -> None:
        command = make_command()
        assert claim(command).attempts == 0
        for lives in (1, 2, 3):
            let_time_pass(ledger.redis, LEASE + 1)
            assert claim(command).attempts == lives

    def test_it_counts_also_if_the_device_is_busy_just_then(self, ledger: Ledger, claim: ClaimOne) -> None:
        """A command that kills its worker must not live for ever because others want its device."""
        deadly = make_command()
        claim(deadly)
        let_time_pass(ledger.redis, LEASE + 1)
        other = claim(make_command())
        assert ledger.claim(deadly, Lane.ROUTINE) == DeviceBusy()
        ledger.retry(other, 60, "TooManyRequestsException", "later")
        assert claim(deadly).attempts == 1

    def test_the_age_counts_from_the_first_attempt(self, ledger: Ledger, claim: ClaimOne) -> None:
        command = make_command()
        first = claim(command)
        assert first.age == 0
        ledger.retry(first, 0, "InternalErrorException", "why", attempt=True)
        let_time_pass(ledger.redis, 100)
        second = claim(command)
        assert 100 <= second.age < 110
        ledger.retry(second, 0, "InternalErrorException", "why", attempt=True)
        let_time_pass(ledger.redis, 100)
        assert 200 <= claim(command).age < 220

    def test_a_throttle_is_no_attempt(self, ledger: Ledger, claim: ClaimOne) -> None:
        command = make_command()
        ledger.retry(claim(command), 0, "TooManyRequestsException", "later")
        again = claim(command)
        assert (again.attempts, again.age) == (0, 0)

    @pytest.mark.parametrize(
        "settle",
        [
            lambda ledger, claim: ledger.succeed(claim, "r"),
            lambda ledger, claim: ledger.dead_letter(claim, "UserNotFoundException", "why"),
            lambda ledger, claim: ledger.retry(claim, 0, "InternalErrorException", "why"),
        ],
        ids=["succeed", "dead_letter", "retry"],
    )
    def test_who_lost_the_claim_changes_nothing(
        self, ledger: Ledger, claim: ClaimOne, settle: Callable[[Ledger, Claimed], Any]
    ) -> None:
        command = make_command()
        late = claim(command)
        let_time_pass(ledger.redis, LEASE + 1)
        current = claim(command)
        before = ledger.redis.hgetall(command_key(command.idempotency_key))
        assert settle(ledger, late) == Lost()
        assert ledger.redis.hgetall(command_key(command.idempotency_key)) == before
        assert ledger.redis.hget(device_key(command), "owner") == current.owner
        assert ledger.succeed(current, "r") == Done(State.SUCCEEDED)

    def test_an_owner_that_is_late_but_alone_still_decides(self, ledger: Ledger, claim: ClaimOne) -> None:
        command = make_command()
        late = claim(command)
        let_time_pass(ledger.redis, LEASE + 1)
        ledger.scripts.run("sweep", [], Lane.ROUTINE, 500, 0, own_ms())
        assert ledger.succeed(late, "r") == Done(State.SUCCEEDED)
        assert ledger.open_count() == dict.fromkeys(Lane, 0)

    def test_a_settlement_said_twice_counts_once(self, ledger: Ledger, claim: ClaimOne) -> None:
        command = make_command()
        held = claim(command)
        for _ in range(2):
            assert ledger.retry(held, 0, "InternalErrorException", "why", attempt=True) == Waiting(
                "InternalErrorException", 0
            )
        assert claim(command).attempts == 1

    def test_a_claim_is_over_for_its_owner_before_it_is_over_for_others(self, claim: ClaimOne) -> None:
        before = time.monotonic()
        held = claim(make_command())
        assert before + LEASE <= held.ends_at <= time.monotonic() + LEASE


class TestLateRequests:
    """A request that got no answer, or left under a claim that was over, may take effect late."""

    def commands(self) -> tuple[DeviceStatusCommand, DeviceStatusCommand]:
        """An older command and a newer one, for the same device."""
        now = datetime.now(UTC)
        older = make_command(issued_at=now - timedelta(minutes=1), status="remembered")
        return older, make_command(issued_at=now, status="not_remembered")

    def test_what_is_applied_while_an_older_one_may_still_come_is_applied_once_more(
        self, ledger: Ledger, claim: ClaimOne
    ) -> None:
        older, newer = self.commands()
        ledger.retry(claim(older), 60, "ReadTimeoutError", "no answer", attempt=True, in_doubt=True)
        again = ledger.succeed(claim(newer), "r")
        assert isinstance(again, Waiting)
        assert 0 < again.due_in <= LATE
        let_time_pass(ledger.redis, LATE + 1)
        assert ledger.succeed(claim(newer), "r") == Done(State.SUCCEEDED)

    @pytest.fixture
    def repair(self, ledger: Ledger, claim: ClaimOne, settings: Settings) -> DeviceStatusCommand:
        """A repair of INC-1's one command, which is queued."""
        older, newer = self.commands()
        Incidents(settings).open(
            "INC-1", user_pool_id=newer.user_pool_id, devices=[(newer.username, newer.device_key)]
        )
        late = claim(older)
        let_time_pass(ledger.redis, LEASE + 1)
        (key,) = ledger.redis.lrange(incident_key("INC-1", "devices"), 0, -1)
        command = parse_stored(ledger.redis.hget(command_key(key), "command"))
        assert command is not None
        assert ledger.succeed(claim(command), "r") == Done(State.SUCCEEDED)
        assert ledger.succeed(late, "late") == Lost()
        made = ledger.repair(late)
        assert made is not None
        return DeviceStatusCommand.model_validate_json(made.command)

    def test_a_repair_goes_on_while_its_incident_is_paused(
        self, repair: DeviceStatusCommand, ledger: Ledger, claim: ClaimOne, settings: Settings
    ) -> None:
        Incidents(settings).pause("INC-1")
        claimed = claim(repair)
        Incidents(settings).resume("INC-1")
        assert isinstance(ledger.succeed(claimed, "r"), Waiting)
        let_time_pass(ledger.redis, LATE + 1)
        assert ledger.succeed(claim(repair), "r") == Done(State.SUCCEEDED)
        progress = Incidents(settings).progress("INC-1")
        assert (progress.is_over, progress.devices, progress.succeeded) == (True, 1, 1)

    def test_a_repair_is_made_though_its_incident_is_cancelled(
        self, repair: DeviceStatusCommand, claim: ClaimOne, settings: Settings
    ) -> None:
        Incidents(settings).cancel("INC-1")
        claim(repair)

    def test_a_repair_counts_as_nothing_when_it_dies_and_when_it_is_redriven(
        self, repair: DeviceStatusCommand, ledger: Ledger, claim: ClaimOne, settings: Settings
    ) -> None:
        ledger.dead_letter(claim(repair), "ResourceNotFoundException", "why")
        DeadLetters(settings).redrive(repair.command_id)
        let_time_pass(ledger.redis, LATE + 1)
        assert ledger.succeed(claim(repair), "r") == Done(State.SUCCEEDED)
        progress = Incidents(settings).progress("INC-1")
        assert (progress.dead_lettered, progress.succeeded, progress.devices, progress.open) == (0, 1, 1, 0)

    def test_its_own_earlier_request_does_it_no_harm(self, ledger: Ledger, claim: ClaimOne) -> None:
        _, newer = self.commands()
        ledger.retry(claim(newer), 0, "ReadTimeoutError", "no answer", attempt=True, in_doubt=True)
        assert ledger.succeed(claim(newer), "r") == Done(State.SUCCEEDED)

    def test_it_does_not_expire_before_it_was_applied_once_more(
        self, ledger: Ledger, claim: ClaimOne
    ) -> None:
        older, newer = self.commands()
        ledger.retry(claim(older), 60, "ReadTimeoutError", "no answer", attempt=True, in_doubt=True)
        assert isinstance(ledger.succeed(claim(newer), "r"), Waiting)
        newer = expire(ledger, newer)
        let_time_pass(ledger.redis, LATE + 1)
        assert ledger.succeed(claim(newer), "r") == Done(State.SUCCEEDED)

    def test_nor_is_it_too_old_before_it_was_applied_once_more(self, ledger: Ledger, claim: ClaimOne) -> None:
        older, newer = self.commands()
        ledger.retry(claim(older), 60, "ReadTimeoutError", "no answer", attempt=True, in_doubt=True)
        newer = newer.model_copy(update={"issued_at": newer.issued_at - timedelta(seconds=10)})
        assert isinstance(ledger.succeed(claim(newer), "r"), Waiting)
        let_time_pass(ledger.redis, LATE + 1)
        ledger.retention_ms = 5_000
        assert ledger.succeed(claim(newer), "r") == Done(State.SUCCEEDED)

    def test_nor_is_a_repair(self, ledger: Ledger, claim: ClaimOne) -> None:
        older, newer = self.commands()
        late = claim(older)
        let_time_pass(ledger.redis, LEASE + 1)
        newer = newer.model_copy(update={"issued_at": newer.issued_at - timedelta(seconds=10)})
        ledger.succeed(claim(newer), "r")
        made = ledger.repair(late)
        assert made is not None
        ledger.retention_ms = 5_000
        claim(DeviceStatusCommand.model_validate_json(made.command))

    def test_a_lost_claims_request_makes_the_newest_be_applied_once_more(
        self, ledger: Ledger, claim: ClaimOne
    ) -> None:
        older, newer = self.commands()
        late = claim(older)
        let_time_pass(ledger.redis, LEASE + 1)
        ledger.succeed(claim(newer), "r")
        ledger.claim(older, Lane.ROUTINE)
        assert ledger.succeed(late, "r") == Lost()
        repair = ledger.repair(late)
        assert repair is not None
        command = parse_stored(repair.command)
        assert command is not None
        assert (command.fingerprint, command.order) == (newer.fingerprint, newer.order)
        assert state_of(ledger, command) is State.QUEUED
        assert ledger.repair(late) is None

    def test_a_late_success_that_no_other_worker_took_over_is_no_different(
        self, ledger: Ledger, claim: ClaimOne
    ) -> None:
        """The older one's lease ran out, the newer was applied, and only then the older's answer came."""
        older, newer = self.commands()
        late = claim(older)
        let_time_pass(ledger.redis, LEASE + 1)
        ledger.succeed(claim(newer), "r")
        settled = ledger.succeed(late, "r")
        repair = ledger.repair(late) if isinstance(settled, Lost) else None
        assert repair is not None, "the device is left in the older command's status"

    def test_a_late_success_puts_a_newer_one_that_is_under_way_in_doubt(
        self, ledger: Ledger, claim: ClaimOne
    ) -> None:
        older, newer = self.commands()
        late = claim(older)
        let_time_pass(ledger.redis, LEASE + 1)
        under_way = claim(newer)
        if isinstance(ledger.succeed(late, "r"), Lost):
            ledger.repair(late)
        assert isinstance(ledger.succeed(under_way, "r"), Waiting), "either request may have been the last"

    def test_a_newer_lost_request_harms_no_older_command(self, ledger: Ledger, claim: ClaimOne) -> None:
        older, newer = self.commands()
        ledger.succeed(claim(older), "r")
        late = claim(newer)
        let_time_pass(ledger.redis, LEASE + 1)
        claim(newer)
        assert ledger.repair(late) is None


class TestSweeping:
    @pytest.fixture
    def sweep(self, ledger: Ledger) -> Callable[[], list[str]]:
        return lambda: list(ledger.scripts.run("sweep", [], Lane.ROUTINE, 500, 0, own_ms()))

    def test_a_retry_is_published_when_it_is_due_and_not_before(
        self, ledger: Ledger, claim: ClaimOne, sweep: Callable[[], list[str]]
    ) -> None:
        ledger.retry(claim(make_command()), 30, "InternalErrorException", "why")
        assert len(sweep()) == 0
        let_time_pass(ledger.redis, 31)
        assert len(sweep()) == 1
        assert len(sweep()) == 0

    def test_a_claim_is_published_again_once_its_lease_is_over(
        self, ledger: Ledger, claim: ClaimOne, sweep: Callable[[], list[str]]
    ) -> None:
        claim(make_command())
        let_time_pass(ledger.redis, LEASE - 5)
        assert len(sweep()) == 0
        let_time_pass(ledger.redis, 6)
        assert len(sweep()) == 1

    def test_a_long_queue_is_never_published_again(
        self, ledger: Ledger, sweep: Callable[[], list[str]]
    ) -> None:
        ledger.enter([make_command(device_key=device(n)) for n in range(20)], Lane.ROUTINE)
        let_time_pass(ledger.redis, 100_000)
        assert len(sweep()) == 0

    def test_a_round_takes_no_more_than_it_is_told(self, ledger: Ledger, claim: ClaimOne) -> None:
        for number in range(5):
            ledger.retry(claim(make_command(device_key=device(number))), 0, "InternalErrorException", "why")
        portions = [len(ledger.scripts.run("sweep", [], Lane.ROUTINE, 2, 0, own_ms())) for _ in range(4)]
        assert portions == [2, 2, 1, 0]


class TestAtOnce:
    """Thirty-two threads, one decision."""

    THREADS = 32

    def claim_together(self, ledger: Ledger, commands: list[DeviceStatusCommand]) -> list[ClaimResult]:
        start = threading.Barrier(len(commands))

        def claim_one(command: DeviceStatusCommand) -> ClaimResult:
            start.wait()
            return ledger.claim(command, Lane.ROUTINE)

        with ThreadPoolExecutor(len(commands)) as threads:
            return list(threads.map(claim_one, commands))

    def test_one_command_has_one_owner(self, ledger: Ledger) -> None:
        results = self.claim_together(ledger, [make_command()] * self.THREADS)
        assert sum(isinstance(result, Claimed) for result in results) == 1
        assert results.count(Busy()) == self.THREADS - 1

    def test_one_device_has_one_owner(self, ledger: Ledger) -> None:
        results = self.claim_together(ledger, [make_command() for _ in range(self.THREADS)])
        assert sum(isinstance(result, Claimed) for result in results) == 1
        assert results.count(DeviceBusy()) == self.THREADS - 1

    def test_different_devices_do_not_wait_for_each_other(self, ledger: Ledger) -> None:
        results = self.claim_together(
            ledger, [make_command(device_key=device(n)) for n in range(self.THREADS)]
        )
        assert all(isinstance(result, Claimed) for result in results)

    def test_one_key_is_entered_once(self, ledger: Ledger) -> None:
        command, start = make_command(), threading.Barrier(self.THREADS)

        def enter(_: int) -> Any:
            start.wait()
            return ledger.enter([command], Lane.ROUTINE)[0]

        with ThreadPoolExecutor(self.THREADS) as threads:
            results = list(threads.map(enter, range(self.THREADS)))
        assert results.count(None) == 1
        assert results.count(State.QUEUED) == self.THREADS - 1
