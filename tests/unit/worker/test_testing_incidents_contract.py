"""`FakeIncidents` does what `Incidents` does with workers on a real server: each scenario runs on both."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Protocol

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_status import (
    IncidentError,
    Incidents,
    InvalidCommandError,
    Lane,
    LedgerUnavailableError,
    Producer,
    Progress,
    PublishError,
    Settings,
    State,
    Verification,
    load_settings,
)
from device_status.incident import command_id
from device_status.incident_ledger import IncidentLedger
from device_status.testing import FakeIncidents, FakeProducer
from device_status.testing.incident_memory import IncidentsInMemory
from device_status_worker.local import LocalCognito
from support import POOL, device
from support.incidents import Crew, make_users
from support.servers import HOST, Valkey, free_port
from support.waiting import eventually

DEVICES = {"ada": 2, "grace": 0}
"""Of the pool's users, in each scenario; a third, `nobody`, does not exist."""


class Side(Protocol):
    """Incidents, and what a test lets happen around them."""

    incidents: Incidents
    producer: Producer
    pool: str

    def finish(self, *, lane: Lane = Lane.BULK, **played: Any) -> None:
        """Let workers do all there is; `played` is what they will find."""

    def list_devices(self, **played: Any) -> None:
        """Let workers list all devices and change none."""

    def verify(self, **played: Any) -> None:
        """Let workers verify."""

    def change_a_device(self) -> None:
        """Somebody else changes one of ada's devices."""

    def lose_ledger(self) -> None:
        """From now on the ledger is away."""

    def lose_broker(self) -> None:
        """From now on the broker is away."""


@dataclass
class Real:
    """Real workers' code on the session's server."""

    settings: Settings
    crew: Crew
    cognito: LocalCognito

    def __post_init__(self) -> None:
        self.incidents, self.producer = Incidents(self.settings), Producer(self.settings)
        self.pool = make_users(self.cognito, DEVICES)

    def finish(self, *, lane: Lane = Lane.BULK, **played: Any) -> None:
        self.crew.finish(lane)

    def list_devices(self, **played: Any) -> None:
        self.crew.list()

    def verify(self, **played: Any) -> None:
        self.crew.list()

    def change_a_device(self) -> None:
        _, key, _ = next(each for each in self.cognito.devices(self.pool) if each[0] == "ada")
        boto3.client("cognito-idp", region_name="us-east-1").admin_update_device_status(
            UserPoolId=self.pool, Username="ada", DeviceKey=key, DeviceRememberedStatus="remembered"
        )

    def lose_ledger(self) -> None:
        away = f"redis://{HOST}:{free_port()}/0"
        self.incidents = Incidents(load_settings(broker_url=self.settings.broker_url, ledger_url=away))

    def lose_broker(self) -> None:
        away = f"redis://{HOST}:{free_port()}/0"
        self.incidents = Incidents(load_settings(broker_url=away, ledger_url=self.settings.ledger))


class Fake:
    """In memory."""

    def __init__(self) -> None:
        fake = FakeProducer()
        self.fake = FakeIncidents(memory=fake.memory)
        self.incidents: Incidents = self.fake
        self.producer: Producer = fake
        self.pool = POOL

    def finish(self, *, lane: Lane = Lane.BULK, **played: Any) -> None:
        self.fake.finish("INC-1", **played)

    def list_devices(self, **played: Any) -> None:
        self.fake.play("INC-1", **played)

    def verify(self, **played: Any) -> None:
        self.fake.play_verification("INC-1", **played)

    def change_a_device(self) -> None:
        pass

    def lose_ledger(self) -> None:
        self.fake.fail(LedgerUnavailableError, times=None)

    def lose_broker(self) -> None:
        self.fake.fail(PublishError, times=None)


@pytest.fixture(params=["real", "fake"])
def side(request: pytest.FixtureRequest) -> Side:
    if request.param == "fake":
        return Fake()
    return Real(*map(request.getfixturevalue, ("settings", "crew", "cognito")))


def start(side: Side, *users: str, **options: Any) -> Progress:
    """`INC-1`, for these users."""
    return side.incidents.open("INC-1", user_pool_id=side.pool, users=users, **options)


def counts(progress: Progress | Verification | None) -> dict[str, int]:
    """Those that are not 0."""
    assert progress is not None
    return {
        each.name: value
        for each in fields(progress)
        if isinstance(value := getattr(progress, each.name), int) and value and not isinstance(value, bool)
    }


class TestOpen:
    def test_users_wait_to_be_listed(self, side: Side) -> None:
        progress = start(side, "ada", "grace", "ada", reason="stolen", requested_by="sec")
        assert counts(progress) == {"users": 2, "users_open": 2}
        assert (progress.incident_id, progress.user_pool_id) == ("INC-1", side.pool)
        assert (progress.phase, progress.is_over, progress.is_input_complete) == ("running", False, True)
        assert (progress.status, progress.lane) == ("not_remembered", "bulk")
        assert (progress.reason, progress.requested_by) == ("stolen", "sec")
        assert (progress.ended_at, progress.verification, progress.trouble) == (None, None, None)
        assert progress.rate == 0

    def test_again_it_goes_on(self, side: Side) -> None:
        added: list[tuple[int, int]] = []
        start(side, "ada", requested_by="sec")
        progress = start(
            side,
            "ada",
            "grace",
            reason="stolen",
            requested_by="other",
            urgent=True,
            refused=lambda: 3,
            on_added=lambda new, known: added.append((new, known)),
        )
        assert counts(progress) == {"users": 2, "users_open": 2, "refused": 3}
        assert (progress.reason, progress.requested_by, progress.lane) == ("stolen", "sec", "urgent")
        assert added == [(1, 1)]

    def test_of_nobody_has_ended(self, side: Side) -> None:
        progress = start(side)
        assert (progress.phase, progress.all_succeeded, counts(progress)) == ("ended", False, {})

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            (
                {"user_pool_id": "eu-west-1_Other0000"},
                "INC-1 was opened with user_pool_id {pool}: give the same",
            ),
            ({"status": "remembered"}, "INC-1 was opened with status not_remembered: give the same"),
        ],
    )
    def test_for_something_else_is_an_error(self, side: Side, options: dict[str, Any], text: str) -> None:
        start(side, "ada")
        with pytest.raises(IncidentError) as caught:
            side.incidents.open("INC-1", **{"user_pool_id": side.pool, "users": ["ada"], **options})
        assert str(caught.value).startswith(text.format(pool=side.pool))

    @pytest.mark.parametrize(
        "options",
        [
            {"incident_id": "INC 1"},
            {"user_pool_id": "nowhere"},
            {"users": ["no name"]},
            {"devices": [("ada", "no key")]},
        ],
    )
    def test_what_breaks_the_contract_is_refused(self, side: Side, options: dict[str, Any]) -> None:
        given = {"incident_id": "INC-1", "user_pool_id": side.pool, **options}
        with pytest.raises(InvalidCommandError):
            side.incidents.open(given.pop("incident_id"), **given)

    def test_the_whole_pool(self, side: Side) -> None:
        progress = start(side, all_users=True)
        assert (progress.is_listing_pool, progress.is_input_complete, counts(progress)) == (True, False, {})
        side.finish(users=2, devices=2, users_no_devices=1)
        progress = side.incidents.wait("INC-1", timeout=0)
        assert (progress.is_listing_pool, progress.is_input_complete) == (False, True)
        assert (progress.phase, progress.all_succeeded) == ("ended", True)
        expected = {"users": 2, "users_no_devices": 1, "users_expanded": 1, "devices": 2, "succeeded": 2}
        assert counts(progress) == expected

    def test_a_pool_that_can_not_be_listed(self, side: Side) -> None:
        side.incidents.open("INC-1", user_pool_id="us-east-1_NoSuchPool", all_users=True)
        side.list_devices(input_error="ResourceNotFoundException")
        progress = side.incidents.progress("INC-1")
        assert progress.input_error == "ResourceNotFoundException"
        assert (progress.phase, progress.all_succeeded, progress.users) == ("ended", False, 0)


class TestCourse:
    def test_listing_then_changing(self, side: Side) -> None:
        start(side, "ada", "grace", "nobody")
        side.list_devices(devices=2, users_dead_lettered=1, users_no_devices=1)
        listed = {
            "users": 3,
            "users_dead_lettered": 1,
            "users_no_devices": 1,
            "users_expanded": 1,
            "devices": 2,
        }
        progress = side.incidents.progress("INC-1")
        assert (progress.phase, counts(progress)) == ("running", listed | {"open": 2})
        side.finish()
        progress = side.incidents.progress("INC-1")
        assert (progress.phase, counts(progress)) == ("ended", listed | {"succeeded": 2})
        assert (progress.all_succeeded, progress.is_over) == (False, True)
        assert progress.ended_at is not None

    def test_all_succeeded(self, side: Side) -> None:
        start(side, "ada", urgent=True)
        side.finish(lane=Lane.URGENT, devices=2)
        progress = side.incidents.wait("INC-1", timeout=0)
        assert progress.all_succeeded
        assert counts(progress) == {"users": 1, "users_expanded": 1, "devices": 2, "succeeded": 2}

    def test_devices_that_are_given_need_no_listing(self, side: Side) -> None:
        # Neither exists, so that both become dead letters.
        added: list[tuple[int, int]] = []
        pairs = [("ada", device(1)), ("ada", device(2))]
        progress = start(side, devices=pairs, on_added=lambda *count: added.append(count))
        assert counts(progress) == {"users": 1, "devices": 2, "open": 2}
        start(side, devices=pairs, on_added=lambda *count: added.append(count))
        assert added == [(2, 0), (0, 2)]
        name = command_id("INC-1", side.pool, "ada", device(2))
        record = side.producer.lookup(name)
        assert record is not None
        assert (record.state, record.lane) == (State.QUEUED, Lane.BULK)
        side.finish(dead_lettered=2)
        progress = side.incidents.progress("INC-1")
        assert (progress.phase, counts(progress)) == ("ended", {"users": 1, "devices": 2, "dead_lettered": 2})
        record = side.producer.lookup(name)
        assert record is not None
        assert (record.state, record.error_code is not None) == (State.DEAD_LETTERED, True)

    def test_more_users_open_it_again(self, side: Side) -> None:
        start(side, "ada")
        side.finish(devices=2)
        assert side.incidents.progress("INC-1").is_over
        progress = start(side, "ada", "grace")
        assert (progress.phase, progress.ended_at) == ("running", None)
        assert counts(progress) == {
            "users": 2,
            "users_open": 1,
            "users_expanded": 1,
            "devices": 2,
            "succeeded": 2,
        }

    def test_a_plan_counts_and_changes_nothing(self, side: Side) -> None:
        if isinstance(side, Fake):
            side.fake.play(devices=2, users_no_devices=1)
        plan_id = side.incidents.count(user_pool_id=side.pool, users=["ada", "grace"])
        side.list_devices()
        progress = side.incidents.wait(plan_id, timeout=0)
        assert progress.phase == "ended"
        assert counts(progress) == {"users": 2, "users_no_devices": 1, "users_expanded": 1, "devices": 2}
        assert list(side.incidents.list()) == []


class TestSteering:
    def test_pause_and_resume(self, side: Side) -> None:
        start(side, "ada")
        assert side.incidents.pause("INC-1").phase == "paused"
        side.finish(devices=2)
        assert side.incidents.wait("INC-1", timeout=0).phase == "paused"
        assert side.incidents.resume("INC-1").phase == "running"
        side.finish()
        assert side.incidents.wait("INC-1", timeout=0).all_succeeded

    def test_cancel(self, side: Side) -> None:
        start(side, "ada", "grace", devices=[("ada", device(1))])
        progress = side.incidents.cancel("INC-1")
        assert (progress.phase, progress.is_over, progress.all_succeeded) == ("cancelled", True, False)
        assert counts(progress) == {"users": 2, "users_cancelled": 2, "devices": 1, "cancelled": 1}
        record = side.producer.lookup(command_id("INC-1", side.pool, "ada", device(1)))
        assert record is not None
        assert record.outcome is State.CANCELLED
        with pytest.raises(
            IncidentError, match=r"^INC-1 was cancelled: open a new incident under another id$"
        ):
            start(side, "ada")
        with pytest.raises(IncidentError, match=r"^INC-1 was cancelled$"):
            side.incidents.resume("INC-1")
        with pytest.raises(IncidentError, match=r"^INC-1 was cancelled meanwhile$"):
            side.incidents.add_users("INC-1", side.pool, ["eve"])

    @pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
    def test_what_is_over_changes_no_more(self, side: Side, action: str) -> None:
        start(side)
        with pytest.raises(IncidentError, match=r"^INC-1 is over$"):
            getattr(side.incidents, action)("INC-1")

    @pytest.mark.parametrize(
        "call",
        [
            lambda incidents: incidents.progress("INC-9"),
            lambda incidents: incidents.progress("INC-9:devices"),
            lambda incidents: incidents.wait("INC-9", timeout=0),
            lambda incidents: incidents.wait_for_verification("INC-9", timeout=0),
            lambda incidents: incidents.pause("INC-9"),
            lambda incidents: incidents.verify("INC-9"),
            lambda incidents: incidents.add_devices("INC-9", [("ada", device(1))]),
        ],
    )
    def test_what_is_unknown_is_an_error(self, side: Side, call: Callable[[Incidents], object]) -> None:
        with pytest.raises(IncidentError, match=r"^no incident INC-9"):
            call(side.incidents)

    def test_the_newest_is_listed_first(self, side: Side) -> None:
        for name in ("INC-1", "INC-2"):
            side.incidents.open(name, user_pool_id=side.pool, users=["ada"])
            opened_at = time.time_ns() // 1_000_000
            # The ledger's clock has milliseconds: the next one is opened in another.
            eventually(lambda at=opened_at: time.time_ns() // 1_000_000 > at + 1, "another millisecond")
        assert [each.incident_id for each in side.incidents.list()] == ["INC-2", "INC-1"]


class TestVerification:
    def test_of_what_is_not_over_is_an_error(self, side: Side) -> None:
        start(side, "ada")
        with pytest.raises(IncidentError, match=r"^INC-1 is not over yet"):
            side.incidents.verify("INC-1")

    def test_all_as_ordered(self, side: Side) -> None:
        start(side, "ada", "grace")
        side.finish(devices=2)
        assert side.incidents.wait("INC-1", timeout=0).verification is None
        side.incidents.verify("INC-1")
        under_way = side.incidents.progress("INC-1").verification
        assert counts(under_way) == {"users": 2, "users_open": 2}
        assert under_way is not None
        assert (under_way.ended_at, under_way.is_as_ordered) == (None, False)
        side.verify()
        verification = side.incidents.wait_for_verification("INC-1", timeout=0).verification
        assert counts(verification) == {"users": 2, "as_ordered": 2}
        assert verification is not None
        assert verification.is_as_ordered

    def test_a_device_that_was_changed_since(self, side: Side) -> None:
        start(side, "ada")
        side.finish(devices=2)
        side.incidents.wait("INC-1", timeout=0)
        side.change_a_device()
        side.incidents.verify("INC-1")
        side.verify(not_as_ordered=1)
        verification = side.incidents.wait_for_verification("INC-1", timeout=0).verification
        assert counts(verification) == {"users": 1, "as_ordered": 1, "not_as_ordered": 1}
        assert verification is not None
        assert not verification.is_as_ordered


class TestServersThatAreAway:
    def test_a_ledger_that_is_away(self, side: Side) -> None:
        side.lose_ledger()
        calls: list[Callable[[], object]] = [
            lambda: start(side, "ada"),
            lambda: side.incidents.progress("INC-1"),
            lambda: list(side.incidents.list()),
            lambda: side.incidents.cancel("INC-1"),
            lambda: side.incidents.verify("INC-1"),
            lambda: side.incidents.count(user_pool_id=side.pool),
        ]
        for call in calls:
            with pytest.raises(LedgerUnavailableError):
                call()

    def test_a_broker_that_is_away_matters_to_devices_only(self, side: Side) -> None:
        side.lose_broker()
        assert start(side, "ada").users == 1
        with pytest.raises(PublishError) as caught:
            start(side, devices=[("ada", device(1))])
        assert caught.value.command_ids == [command_id("INC-1", side.pool, "ada", device(1))]
        assert counts(side.incidents.progress("INC-1")) == {
            "users": 1,
            "users_open": 1,
            "devices": 1,
            "open": 1,
        }


NAMES = ("ada", "grace", "eve")
opens = st.fixed_dictionaries(
    {
        "users": st.lists(st.sampled_from(NAMES), max_size=3),
        "devices": st.lists(
            st.tuples(st.sampled_from(("ada", "bob")), st.sampled_from((device(1), device(2)))), max_size=2
        ),
        "all_users": st.booleans(),
        "urgent": st.booleans(),
        "reason": st.sampled_from((None, "stolen")),
        "status": st.sampled_from(("not_remembered", "not_remembered", "not_remembered", "remembered")),
    }
)
actions = st.one_of(opens, st.sampled_from(("pause", "resume", "cancel", "verify", "progress")))


def outcome_of(incidents: Incidents, action: dict[str, Any] | str) -> object:
    """What a call returns or raises, without what differs from run to run."""
    try:
        if isinstance(action, dict):
            progress = incidents.open("INC-1", user_pool_id=POOL, **action)
        else:
            getattr(incidents, action)("INC-1")
            progress = incidents.progress("INC-1")
    except IncidentError as error:
        return str(error)
    # Times differ; the fake's rate is always 0.
    fields = progress.to_dict() | {"opened_at": "", "ended_at": progress.ended_at is not None, "rate": 0}
    if progress.verification:
        verification = progress.verification
        is_over = verification.ended_at is not None
        fields["verification"] = (
            counts(verification),
            is_over,
            verification.knew_all,
            verification.is_as_ordered,
        )
    return fields


class TestAnyOrder:
    @given(calls=st.lists(actions, min_size=1, max_size=8))
    def test_fake_and_real_agree(self, valkey: Valkey, calls: list[dict[str, Any] | str]) -> None:
        """Whatever is opened and steered in whatever order, while no worker runs."""
        valkey.flush()
        real, fake = Incidents(load_settings(broker_url=valkey.url)), FakeIncidents()
        for call in calls:
            assert outcome_of(real, call) == outcome_of(fake, call), call


def public_methods(cls: type) -> dict[str, inspect.Signature]:
    """By name."""
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_")
    }


class TestSignatures:
    def test_every_public_method_takes_and_returns_the_same(self) -> None:
        ours, theirs = public_methods(FakeIncidents), public_methods(Incidents)
        for name, signature in theirs.items():
            assert [
                (each.name, each.kind, str(each.annotation)) for each in ours[name].parameters.values()
            ] == [(each.name, each.kind, str(each.annotation)) for each in signature.parameters.values()]
            assert ours[name].return_annotation == signature.return_annotation

    def test_scenarios_cover_every_public_method(self) -> None:
        """A new one needs a scenario above, and perhaps a line in the fake."""
        assert set(public_methods(Incidents)) == {
            *("open", "count", "progress", "list", "wait", "pause", "resume", "cancel"),
            *("verify", "wait_for_verification", "add_users", "add_devices"),
        }

    def test_what_stands_in_for_the_ledger_takes_the_same(self) -> None:
        theirs = public_methods(IncidentLedger)
        assert theirs == {
            name: each for name, each in public_methods(IncidentsInMemory).items() if name in theirs
        }

    def test_they_are_incidents(self) -> None:
        assert isinstance(FakeIncidents(), Incidents)
