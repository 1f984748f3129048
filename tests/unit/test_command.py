"""Promises of the wire contract, each field's rule checked against an oracle that is not pydantic."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from device_status import DeviceStatusCommand, InvalidCommandError, Status, parse_command
from device_status.ledger import as_json, parse_stored
from support import DEVICE_KEY, POOL, USERNAME, make_command, wire_object
from support.strategies import (
    device_keys,
    instants,
    keys,
    moments,
    notes,
    pool_ids,
    statuses,
    usernames,
    wire_objects,
)

PERSONAL = (USERNAME, DEVICE_KEY)


def refusal(fields: Any) -> str:
    """The text with which `fields` is refused."""
    with pytest.raises(InvalidCommandError) as caught:
        parse_command(fields)
    return str(caught.value)


def accepts(**fields: Any) -> bool:
    try:
        parse_command(wire_object(**fields))
    except InvalidCommandError:
        return False
    return True


class TestTheWay:
    """A command arrives as it was sent."""

    @given(wire_objects())
    def test_a_command_survives_the_wire(self, fields: dict[str, Any]) -> None:
        command = parse_command(fields)
        assert parse_command(json.loads(json.dumps(command.to_wire()))) == command

    @given(wire_objects())
    def test_a_command_survives_the_ledger(self, fields: dict[str, Any]) -> None:
        command = parse_command(fields)
        assert parse_stored(as_json(command)) == command

    @given(wire_objects())
    def test_what_is_sent_is_what_was_given(self, fields: dict[str, Any]) -> None:
        sent = parse_command(fields).to_wire()
        texts = {name: value for name, value in fields.items() if not name.endswith("_at")}
        assert {name: sent.get(name) for name in texts} == texts

    @given(instants())
    def test_an_instant_keeps_its_microsecond(self, text: str) -> None:
        # Nanoseconds are cut off, not rounded.
        micros = re.sub(r"(\.\d{6})\d+", r"\1", text.upper())
        assert make_command(issued_at=text).issued_at == datetime.fromisoformat(micros)

    @given(wire_objects())
    def test_the_identity_of_a_command_does_not_change_on_the_way(self, fields: dict[str, Any]) -> None:
        sent = parse_command(fields)
        received = parse_command(json.loads(json.dumps(sent.to_wire())))
        assert (received.fingerprint, received.device_hash, received.order) == (
            sent.fingerprint,
            sent.device_hash,
            sent.order,
        )

    def test_fields_that_are_null_do_not_travel(self) -> None:
        assert set(make_command(expires_at=None, reason=None).to_wire()) == {
            "schema_version",
            "command_id",
            "idempotency_key",
            "user_pool_id",
            "username",
            "device_key",
            "status",
            "issued_at",
        }

    def test_a_command_of_another_version_in_the_ledger_is_none(self) -> None:
        assert parse_stored(json.dumps(wire_object(schema_version=2))) is None


class TestDefaults:
    def test_a_command_id_is_a_new_uuid_version_7(self) -> None:
        first, second = make_command().command_id, make_command().command_id
        assert first != second
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", first)

    def test_the_idempotency_key_is_the_command_id(self) -> None:
        assert make_command(command_id="mine").idempotency_key == "mine"

    def test_issued_at_is_now(self) -> None:
        before = datetime.now(UTC)
        assert before <= make_command().issued_at <= datetime.now(UTC)

    def test_the_region_is_the_part_before_the_underscore(self) -> None:
        assert make_command(user_pool_id="ap-southeast-2_Zz9").region == "ap-southeast-2"


class TestRulesAgainstAnOracle:
    """A field is accepted exactly if a rule written down independently accepts it."""

    # Unassigned characters (Cn) differ with the version of Unicode.
    @given(st.text(st.characters(exclude_categories=["Cn"]), max_size=130) | usernames)
    @example("a" * 128)
    @example("a" * 129)
    @example("")
    @example("a\n")
    def test_usernames(self, username: str) -> None:
        valid = 1 <= len(username) <= 128 and all(unicodedata.category(c)[0] in "LMSNP" for c in username)
        assert accepts(username=username) == valid

    @given(pool_ids | st.text(max_size=60) | st.from_regex(r"[\w-]+_[0-9a-zA-Z]+$"))
    @example("a_b\n")
    @example("é_b")
    @example("a_١")
    def test_pool_ids(self, pool: str) -> None:
        valid = len(pool) <= 55 and bool(re.fullmatch(r"[\w-]+_[0-9a-zA-Z]+", pool, re.ASCII))
        assert accepts(user_pool_id=pool) == valid

    @given(device_keys | st.text(max_size=60) | st.from_regex(r"[\w-]+_[0-9a-f-]+$"))
    @example("a_b\n")
    @example("a_B")
    @example("a_g")
    def test_device_keys(self, key: str) -> None:
        valid = len(key) <= 55 and bool(re.fullmatch(r"[\w-]+_[0-9a-f-]+", key, re.ASCII))
        assert accepts(device_key=key) == valid

    @given(
        date_parts=st.tuples(st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32)),
        time_parts=st.tuples(st.integers(0, 24), st.integers(0, 61), st.integers(0, 61)),
        offset_parts=st.tuples(st.sampled_from("+-"), st.integers(0, 25), st.integers(0, 99)),
    )
    @example((2026, 2, 29), (0, 0, 0), ("+", 0, 0))
    @example((2024, 2, 29), (23, 59, 59), ("-", 23, 59))
    @example((2026, 5, 4), (3, 2, 1), ("+", 1, 99))
    @example((2026, 5, 4), (3, 2, 60), ("+", 0, 0))
    @example((1, 1, 1), (0, 0, 0), ("+", 0, 1))
    @example((9999, 12, 31), (23, 59, 59), ("-", 0, 1))
    def test_instants(
        self,
        date_parts: tuple[int, int, int],
        time_parts: tuple[int, int, int],
        offset_parts: tuple[str, int, int],
    ) -> None:
        sign, hours, minutes = offset_parts
        text = "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}".format(*date_parts, *time_parts)
        text += f"{sign}{hours:02}:{minutes:02}"
        try:
            away = timedelta(hours=hours, minutes=minutes) * (-1 if sign == "-" else 1)
            _ = datetime(*date_parts, *time_parts, tzinfo=UTC) - away
            valid = hours <= 23 and minutes <= 59
        except (ValueError, OverflowError):
            valid = False
        assert accepts(issued_at=text) == valid, text


# Every row of the design's table: field, what is right, what is wrong.
CONTRACT: dict[str, tuple[list[Any], list[Any]]] = {
    # JSON has one kind of number, so 1.0 is 1.
    "schema_version": ([..., 1, 1.0], [0, 2, -1, 1.5, True, False, "1", None, [1], {}]),
    "command_id": ([..., "x", "x" * 256, "é ☃\n"], ["", "x" * 257, None, 5, ["x"], "\ud800"]),
    "idempotency_key": ([..., "x", "x" * 256], ["", "x" * 257, None, 5, {}]),
    "user_pool_id": (
        ["a_b", "_" + "__b", "-_1", "eu-west-1_" + "A" * 45],
        [
            ...,
            None,
            "",
            "a",
            "a_",
            "_b",
            "eu-west-1_" + "A" * 46,
            "a_b-c",
            "a b_c",
            "a_é",
            "é_a",
            "a_b\n",
            "\na_b",
            7,
        ],
    ),
    "username": (
        ["a", "a" * 128, "😀" * 128, "é", "e\u0301", "١", "€", "!", "ada@example.org", "<script>", "\\"],
        [
            ...,
            None,
            "",
            "a" * 129,
            "a b",
            "a\n",
            "\ta",
            "\x00",
            "a\u200bb",
            "a\u00a0b",
            "\u2028",
            "\ud800",
            5,
        ],
    ),
    "device_key": (
        ["a_b", "eu-west-1_" + "a" * 45, "x_-", "__0"],
        [..., None, "", "a_", "_a", "a_A", "a_g", "eu-west-1_" + "a" * 46, "a_b\n", "é_a", 5],
    ),
    "status": (
        ["remembered", "not_remembered"],
        [..., None, "", "Remembered", "forgotten", "remembered ", 1, True],
    ),
    "issued_at": (
        [
            ...,
            "2026-05-04T03:02:01Z",
            "2026-05-04t03:02:01z",
            "2026-05-04T03:02:01.1Z",
            "2026-05-04T03:02:01.123456789Z",
            "2026-05-04T03:02:01+05:30",
            "2026-05-04T03:02:01-23:59",
            "2026-05-04T03:02:01-00:00",
            "2024-02-29T00:00:00Z",
        ],
        [
            None,
            "",
            "2026-05-04T03:02:01",
            "2026-05-04",
            "2026-05-04 03:02:01Z",
            "2026-05-04T03:02Z",
            "2026-05-04T03:02:01.Z",
            "2026-05-04T03:02:01+0530",
            "2026-05-04T03:02:01+05",
            "2026-05-04T03:02:01+24:00",
            "2026-05-04T03:02:01+01:60",
            "2026-02-29T03:02:01Z",
            "2026-05-04T24:00:00Z",
            "2026-05-04T23:59:60Z",
            "2026-05-04T03:02:01Z\n",
            " 2026-05-04T03:02:01Z",
            "20260504T030201Z",
            "2026-W19-1T03:02:01Z",
            "２026-05-04T03:02:01Z",
            "now",
            1_777_863_721,
            1_777_863_721.5,
            True,
        ],
    ),
    "expires_at": (
        [..., None, "2026-05-04T03:02:01Z", "2026-05-04T03:02:01+05:30"],
        ["", "2026-05-04T03:02:01", "2026-05-04", 0, "never"],
    ),
    "incident_id": ([..., None, "", "x" * 256], ["x" * 257, 5, ["x"]]),
    "requested_by": ([..., None, "", "x" * 256], ["x" * 257, 5, {}]),
    "reason": ([..., None, "", "x" * 1024, "line\nline"], ["x" * 1025, 5, True]),
}


def cases(which: int) -> list[Any]:
    return [
        pytest.param(field, value, id=f"{field}={'absent' if value is ... else ascii(value)[:40]}")
        for field, both in CONTRACT.items()
        for value in both[which]
    ]


class TestTheContractsTable:
    def test_the_table_has_a_row_for_each_field(self) -> None:
        assert CONTRACT.keys() == DeviceStatusCommand.model_fields.keys()

    @pytest.mark.parametrize(("field", "value"), cases(0))
    def test_accepted(self, field: str, value: Any) -> None:
        parse_command(wire_object(**{field: value}))

    @pytest.mark.parametrize(("field", "value"), cases(1))
    def test_refused(self, field: str, value: Any) -> None:
        text = refusal(wire_object(**{field: value}))
        assert text.startswith(f"{field}: ")
        assert "\n" not in text

    @pytest.mark.parametrize("name", ["pool", "Username", "lane", "__class__", "", "a.b"])
    def test_an_unknown_field_is_refused(self, name: str) -> None:
        assert "is no field of the contract" in refusal(wire_object(**{name: "x"}))

    @pytest.mark.parametrize("thing", [None, "text", 5, [], [("username", "ada")], True])
    def test_what_is_no_object_is_refused(self, thing: Any) -> None:
        assert refusal(thing).startswith("command: ")

    def test_every_wrong_field_is_named_at_once(self) -> None:
        text = refusal({"status": "no", "username": "", "extra": 1})
        named = {part.partition(":")[0] for part in text.split("; ") if ":" in part}
        assert {"status", "username", "extra", "user_pool_id", "device_key"} <= named

    def test_a_refusal_is_one_line(self) -> None:
        assert "\n" not in refusal(wire_object(**{"two\nlines": 1}))

    @pytest.mark.parametrize(
        "instant",
        [datetime(2026, 5, 4, 3, 2, 1), date(2026, 5, 4), timedelta(1)],  # noqa: DTZ001
        ids=["naive", "date", "duration"],
    )
    def test_a_naive_time_or_a_date_is_refused_from_python_too(self, instant: Any) -> None:
        assert refusal(wire_object(issued_at=instant)).startswith("issued_at: ")

    def test_an_aware_time_from_python_becomes_utc(self) -> None:
        local = datetime(2026, 5, 4, 3, 2, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))
        issued_at = make_command(issued_at=local).issued_at
        assert (issued_at, issued_at.tzinfo) == (local, UTC)

    def test_a_command_can_not_be_changed(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            make_command().status = Status.REMEMBERED  # type: ignore[misc]


Break = Callable[[dict[str, Any], st.DataObject], str]


def _other_type(fields: dict[str, Any], data: st.DataObject) -> str:
    field = data.draw(st.sampled_from(sorted(DeviceStatusCommand.model_fields)))
    fields[field] = data.draw(
        st.sampled_from([17, 1.5, True, [], {}, [fields.get(field)], {"value": fields.get(field)}])
    )
    return field


def _absent(fields: dict[str, Any], data: st.DataObject) -> str:
    field = data.draw(st.sampled_from(["user_pool_id", "username", "device_key", "status"]))
    del fields[field]
    return field


def _null(fields: dict[str, Any], data: st.DataObject) -> str:
    nullable = {"expires_at", "incident_id", "requested_by", "reason"}
    field = data.draw(st.sampled_from(sorted(DeviceStatusCommand.model_fields.keys() - nullable)))
    fields[field] = None
    return field


def _too_long(fields: dict[str, Any], data: st.DataObject) -> str:
    limits = {
        "command_id": 256,
        "idempotency_key": 256,
        "user_pool_id": 55,
        "username": 128,
        "device_key": 55,
        "incident_id": 256,
        "requested_by": 256,
        "reason": 1024,
    }
    field = data.draw(st.sampled_from(sorted(limits)))
    start = fields.get(field) or "x"
    fields[field] = start + "a" * (limits[field] - len(start) + data.draw(st.integers(1, 2000)))
    return field


def _forbidden_character(fields: dict[str, Any], data: st.DataObject) -> str:
    field = data.draw(st.sampled_from(["user_pool_id", "username", "device_key"]))
    text, at = fields[field], data.draw(st.integers(0, len(fields[field])))
    character = data.draw(st.characters(categories=("Zs", "Zl", "Zp", "Cc", "Cf", "Co")))
    fields[field] = text[:at] + character + text[at:]
    return field


def _other_status(fields: dict[str, Any], data: st.DataObject) -> str:
    fields["status"] = data.draw(st.text().filter(lambda text: text not in {"remembered", "not_remembered"}))
    return "status"


def _no_instant(fields: dict[str, Any], data: st.DataObject) -> str:
    field = data.draw(st.sampled_from(["issued_at", "expires_at"]))
    moment = data.draw(moments)
    fields[field] = data.draw(
        st.sampled_from(
            [
                moment.replace(tzinfo=None).isoformat(),
                moment.date().isoformat(),
                moment.isoformat(" "),
                moment.isoformat() + "Z",
                moment.isoformat() + "\n",
                str(moment.timestamp()),
                moment.timestamp(),
            ]
        )
        | st.text()
    )
    return field


def _other_version(fields: dict[str, Any], data: st.DataObject) -> str:
    fields["schema_version"] = data.draw(st.integers().filter(lambda n: n != 1) | st.booleans() | st.text())
    return "schema_version"


def _unknown_field(fields: dict[str, Any], data: st.DataObject) -> str:
    letters = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=60)
    field = data.draw(letters.filter(lambda name: name not in DeviceStatusCommand.model_fields))
    fields[field] = data.draw(st.sampled_from([None, 1, "x", USERNAME, {"username": USERNAME}]))
    return field


BREAKS: list[Break] = [
    _absent,
    _forbidden_character,
    _no_instant,
    _null,
    _other_status,
    _other_type,
    _other_version,
    _too_long,
    _unknown_field,
]


class TestNothingInvalidGetsThrough:
    @given(
        fields=wire_objects(username=st.just(USERNAME), device_key=st.just(DEVICE_KEY)),
        break_one=st.sampled_from(BREAKS),
        data=st.data(),
    )
    def test_one_broken_field_is_refused_and_named_without_personal_data(
        self, fields: dict[str, Any], break_one: Break, data: st.DataObject
    ) -> None:
        field = break_one(fields, data)
        text = refusal(fields)
        assert f"{field}: " in text
        for value in PERSONAL:
            assert value not in text
            # Nor in parts, where the value was cut or extended.
            assert value[3:15] not in text

    @pytest.mark.parametrize("field", ["username", "device_key"])
    def test_a_refused_value_is_never_repeated(self, field: str) -> None:
        with pytest.raises(InvalidCommandError) as caught:
            parse_command(wire_object(**{field: "secret word"}))
        assert "secret" not in str(caught.value)
        assert "secret" not in repr(caught.value)

    def test_pydantics_own_error_repeats_no_value_either(self) -> None:
        with pytest.raises(ValueError, match="username") as caught:
            DeviceStatusCommand(**wire_object(username="secret word"))
        assert "secret" not in str(caught.value)


class TestOrder:
    """The commands of one device have one order, whoever compares them."""

    @given(moments, moments, statuses, statuses)
    def test_the_newer_wins_and_on_a_tie_not_remembered(
        self, first_at: datetime, second_at: datetime, first: str, second: str
    ) -> None:
        one = make_command(issued_at=first_at, status=first)
        other = make_command(issued_at=second_at, status=second)
        assert (one.order < other.order) == (
            (first_at, first == "not_remembered") < (second_at, second == "not_remembered")
        )

    @given(moments, statuses, statuses)
    def test_one_microsecond_decides(self, moment: datetime, first: str, second: str) -> None:
        earlier = make_command(issued_at=moment, status=first)
        later = make_command(issued_at=moment + timedelta(microseconds=1), status=second)
        assert earlier.order < later.order

    @given(moments, st.integers(-23 * 60, 23 * 60), statuses)
    def test_the_offset_is_only_a_way_of_writing(self, moment: datetime, minutes: int, status: str) -> None:
        elsewhere = moment.astimezone(timezone(timedelta(minutes=minutes)))
        assert (
            make_command(issued_at=moment, status=status).order
            == make_command(issued_at=elsewhere.isoformat(), status=status).order
        )

    @given(moments, statuses)
    def test_lua_can_hold_it_exactly(self, moment: datetime, status: str) -> None:
        order = make_command(issued_at=moment, status=status).order
        assert int(float(order)) == order < 2**53


class TestFingerprint:
    """Two commands with the same fingerprint ask for the same."""

    @given(wire_objects(), wire_objects())
    def test_it_depends_on_nothing_but_pool_username_device_and_status(
        self, one: dict[str, Any], other: dict[str, Any]
    ) -> None:
        parts = ("user_pool_id", "username", "device_key", "status")
        same = other | {part: one[part] for part in parts}
        assert parse_command(same).fingerprint == parse_command(one).fingerprint

    @given(
        wire_objects(),
        st.fixed_dictionaries(
            {},
            optional={
                "user_pool_id": pool_ids,
                "username": usernames,
                "device_key": device_keys,
                "status": statuses,
            },
        ),
    )
    def test_it_changes_with_each_of_them(self, fields: dict[str, Any], changes: dict[str, Any]) -> None:
        differs = any(fields[part] != value for part, value in changes.items())
        assert (parse_command(fields | changes).fingerprint != parse_command(fields).fingerprint) == differs

    @given(keys, notes)
    def test_the_device_is_the_same_for_either_status(self, key: str, note: str | None) -> None:
        one = make_command(status="remembered", idempotency_key=key, reason=note)
        other = make_command(status="not_remembered")
        assert one.device_hash == other.device_hash
        assert one.fingerprint != other.fingerprint

    def test_a_shifted_boundary_between_the_parts_changes_it(self) -> None:
        one = make_command(user_pool_id="a_b", username="cd")
        other = make_command(user_pool_id="a_bc", username="d")
        assert one.fingerprint != other.fingerprint


class TestPersonalData:
    @pytest.mark.parametrize("show", [repr, str, "{}".format, "%s".__mod__, ascii])
    def test_a_shown_command_holds_neither_username_nor_device_key(
        self, show: Callable[[DeviceStatusCommand], str]
    ) -> None:
        shown = show(make_command())
        assert POOL in shown
        assert not any(value in shown for value in PERSONAL)
