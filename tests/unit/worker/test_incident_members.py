"""Promises about who is part of an incident: what it orders itself, and nobody else's commands."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from device_status import (
    DeadLetters,
    Incidents,
    InvalidCommandError,
    Lane,
    Producer,
    Settings,
    State,
    load_settings,
)
from device_status.dead_letters import NotRedrivableError
from device_status.ledger import PREFIX, command_key
from device_status.outcomes import Claimed, Conflict, Lost, Reserved
from device_status_worker.local import LocalCognito
from support import POOL, USERNAME, device, make_command
from support.incidents import Crew, counters, make_users, open_incident, recount, statuses


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return load_settings(broker_url=redis_url, max_attempts=3, update_quota=5000, read_quota=5000)


def member_id(pool: str, username: str, key: str, incident_id: str = "INC-1") -> str:
    """The id that an incident gives its command for a device, as docs/publishing.md says it."""
    digest = hashlib.sha256(f"{pool}\n{username}\n{key}".encode()).hexdigest()
    return f"incident:{incident_id}:{digest[:32]}"


class TestReservedIds:
    @pytest.mark.parametrize("name", ["command_id", "idempotency_key"])
    @pytest.mark.parametrize("value", ["incident:INC-1:0123", "incident:", "repair:0123"])
    def test_a_producer_may_not_use_them(self, name: str, value: str, producer: Producer) -> None:
        fields = make_command().to_wire() | {name: value}
        with pytest.raises(
            InvalidCommandError, match=rf"^{name}: begins with incident: or repair:"
        ) as raised:
            producer.enqueue(fields)
        assert USERNAME not in str(raised.value)
        with pytest.raises(InvalidCommandError):
            producer.enqueue(make_command(**{name: value}))
        report = producer.enqueue_many([fields, make_command()])
        assert [refusal.index for refusal in report.refused] == [0]
        assert report.accepted == 1

    @pytest.mark.parametrize("value", ["incidents:1", "INCIDENT:1", "my-incident:1", "repairs"])
    def test_what_only_looks_like_them_is_free(self, value: str, producer: Producer) -> None:
        assert producer.enqueue(make_command(command_id=value)) == value

    @pytest.mark.parametrize(
        "names",
        [
            {"command_id": "incident:INC-1:0123"},
            {"command_id": "mine", "idempotency_key": "incident:INC-1:0123"},
            {"command_id": "incident:INC-1:0123", "idempotency_key": "mine"},
            {"command_id": "repair:0123"},
        ],
    )
    @pytest.mark.parametrize("entered", [True, False])
    def test_a_forged_message_is_a_dead_letter_and_never_an_entry(
        self, names: dict[str, str], entered: bool, crew: Crew, settings: Settings
    ) -> None:
        ledger, forged = crew.worker.ledger, make_command(**names)
        if entered:
            assert ledger.enter([forged], Lane.BULK) == [Reserved()]
        assert ledger.claim(forged, Lane.BULK) == Reserved()
        (letter,) = DeadLetters(settings).list()
        assert (letter.error_code, letter.command) == ("ReservedId", forged)
        assert not ledger.redis.keys(f"{PREFIX}command:*")
        assert not ledger.redis.keys(f"{PREFIX}id:incident:*")
        assert ledger.open_count() == dict.fromkeys(Lane, 0)
        with pytest.raises(NotRedrivableError, match="reserved"):
            DeadLetters(settings).redrive(letter.id)

    def test_a_forged_message_for_a_command_of_an_incident_changes_nothing(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, settings: Settings
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        ((_, key, _),) = cognito.devices(pool)
        open_incident(incidents, pool, "ada")
        crew.list()
        ledger, name = crew.worker.ledger, member_id(pool, "ada", key)
        before = ledger.redis.hgetall(command_key(name))
        fields = {"user_pool_id": pool, "username": "ada", "device_key": key, "command_id": name}
        assert ledger.claim(make_command(**fields, status="remembered"), Lane.BULK) == Reserved()
        other_id = make_command(**fields | {"command_id": "mine"}, idempotency_key=name, status="remembered")
        assert ledger.enter([other_id], Lane.BULK) == [Reserved()]
        assert ledger.redis.hgetall(command_key(name)) == before
        # The same content is no more than a hint to do what the incident has ordered.
        hint = make_command(**fields, status="not_remembered", reason="forged", issued_at=datetime.now(UTC))
        claimed = ledger.claim(hint, Lane.BULK)
        assert isinstance(claimed, Claimed)
        assert claimed.command.reason is None
        assert set(DeadLetters(settings).count_by_error()) == {"ReservedId"}


class TestSquatters:
    @pytest.mark.parametrize("state", ["queued", "claimed", "succeeded", "dead_lettered"])
    def test_whatever_stands_under_a_members_key_gives_way(
        self, state: str, incidents: Incidents, crew: Crew, cognito: LocalCognito, settings: Settings
    ) -> None:
        """As an entry from before ids were reserved may."""
        pool = make_users(cognito, {"ada": 2})
        (_, key, _), _ = cognito.devices(pool)
        ledger, name = crew.worker.ledger, member_id(pool, "ada", key)
        fields = {"user_pool_id": pool, "username": "ada", "device_key": key, "status": "not_remembered"}
        squatter = make_command(**fields, command_id="squatter")
        claim = ledger.claim(squatter, Lane.BULK)
        assert isinstance(claim, Claimed)
        if state == "succeeded":
            ledger.succeed(claim, "r")
        elif state == "dead_lettered":
            ledger.dead_letter(claim, "UserNotFoundException", "why")
        elif state == "queued":
            ledger.redis.delete(command_key("squatter"), f"{PREFIX}device:{squatter.device_hash}")
            ledger.enter([squatter], Lane.BULK)
        ledger.redis.rename(command_key("squatter"), command_key(name))
        if state == "dead_lettered":
            ledger.redis.rename(f"{PREFIX}dead-letter:squatter", f"{PREFIX}dead-letter:{name}")
        for place in ("open:bulk", "queued:bulk", "dead", "dead:aging"):
            score = ledger.redis.zscore(f"{PREFIX}{place}", "squatter")
            ledger.redis.zrem(f"{PREFIX}{place}", "squatter")
            if score is not None:
                ledger.redis.zadd(f"{PREFIX}{place}", {name: score})

        open_incident(incidents, pool, "ada")
        crew.list()
        progress = incidents.progress("INC-1")
        assert (progress.devices, progress.open) == (2, 2)
        # Nothing of the other is left, neither in the entry nor beside it.
        entry = ledger.redis.hgetall(command_key(name))
        fresh = {
            "command_id",
            "fingerprint",
            "command",
            "lane",
            "state",
            "attempts",
            "entered_at",
            "queued_at",
        }
        assert entry.keys() == {*fresh, "incident", "life"}
        assert (entry["state"], entry["attempts"]) == ("queued", "0")
        assert DeadLetters(settings).count_by_error() == {}
        assert ledger.redis.zscore(f"{PREFIX}open:bulk", name) is None
        if state == "claimed":
            squatting = Claimed(make_command(**fields, command_id=name), claim.owner, 0, 0.0, claim.ends_at)
            assert ledger.succeed(squatting, "r") == Lost()
            ledger.redis.delete(f"{PREFIX}device:{squatter.device_hash}")
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.devices, progress.succeeded, progress.all_succeeded) == (2, 2, True)
        assert counters(progress) == recount(ledger, "INC-1")
        assert statuses(cognito, pool) == {"not_remembered": 2}

    def test_a_producer_that_knows_the_ids_covers_no_device_up(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, producer: Producer
    ) -> None:
        pool = make_users(cognito, {"ada": 4})
        keys = [key for _, key, _ in cognito.devices(pool)]
        ledger = crew.worker.ledger
        for key in keys[:2]:
            fields = {"user_pool_id": pool, "username": "ada", "device_key": key, "status": "not_remembered"}
            name = member_id(pool, "ada", key)
            for names in ({"command_id": name}, {"command_id": f"x-{key}", "idempotency_key": name}):
                with pytest.raises(InvalidCommandError):
                    producer.enqueue(fields | names)
                assert ledger.claim(make_command(**fields, **names), Lane.BULK) == Reserved()
            # The id that an incident gave its commands before.
            producer.enqueue(fields | {"command_id": name.removeprefix("incident:")}, lane=Lane.BULK)
        open_incident(incidents, pool, "ada")
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.devices, progress.succeeded, progress.all_succeeded) == (4, 4, True)
        assert statuses(cognito, pool) == {"not_remembered": 4}

    def test_a_lister_of_an_earlier_life_adds_nothing(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada")
        ledger = crew.worker.ledger
        command = make_command(user_pool_id=pool, username="ada", command_id="incident:INC-1:0123")
        assert ledger.enter_members("INC-1", "no such life", [command], Lane.BULK) == []
        assert ledger.enter_members("INC-2", "1", [command], Lane.BULK) == []
        assert incidents.progress("INC-1").devices == 0


class TestNamingAnIncident:
    def test_a_command_that_names_an_incident_is_no_part_of_it(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, producer: Producer
    ) -> None:
        pool = make_users(cognito, {"ada": 1, "grace": 1})
        key = next(key for username, key, _ in cognito.devices(pool) if username == "grace")
        open_incident(incidents, pool, "ada")
        crew.finish()
        incidents.verify("INC-1")
        crew.finish()
        before = incidents.progress("INC-1")
        assert before.verification is not None
        fields: dict[str, Any] = {"user_pool_id": pool, "username": "grace", "device_key": key}
        command_id = producer.enqueue(**fields, incident_id="INC-1", status="not_remembered", lane=Lane.BULK)
        assert incidents.progress("INC-1") == before
        crew.finish()
        assert incidents.progress("INC-1") == before
        record = producer.lookup(command_id)
        assert record is not None
        assert record.state is State.SUCCEEDED

    def test_its_dead_letter_is_not_redriven_with_the_incidents(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, producer: Producer, settings: Settings
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada", "nobody")
        producer.enqueue(make_command(user_pool_id=pool, incident_id="INC-1"), lane=Lane.BULK)
        crew.finish()
        letters = DeadLetters(settings)
        assert len(list(letters.list())) == 2
        assert [letter.username for letter in letters.list(incident_id="INC-1")] == ["nobody"]

    def test_it_goes_on_while_the_incident_is_paused_or_cancelled(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada")
        incidents.pause("INC-1")
        assert isinstance(crew.worker.ledger.claim(make_command(incident_id="INC-1"), Lane.BULK), Claimed)
        incidents.cancel("INC-1")
        other = make_command(incident_id="INC-1", device_key=device(2))
        assert isinstance(crew.worker.ledger.claim(other, Lane.BULK), Claimed)


def test_a_conflict_under_a_free_key_is_still_a_conflict(crew: Crew) -> None:
    ledger = crew.worker.ledger
    ledger.enter([make_command(user_pool_id=POOL, idempotency_key="one")], Lane.BULK)
    other = make_command(user_pool_id=POOL, idempotency_key="one", device_key=device(2))
    assert ledger.claim(other, Lane.BULK) == Conflict()
