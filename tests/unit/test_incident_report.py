"""Promises about the report: complete, checkable, harmless to open, and small in memory at any size."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import tracemalloc
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from device_status import Incidents, Lane, Settings
from device_status.clean import printable
from device_status.cli import app
from device_status.incident import incident_key
from device_status.incident_chart import chart
from device_status.incident_html import write_html
from device_status.incident_records import canonical, records, timeline
from device_status.incident_report import COLUMNS, BrokenReportError, check_report, write_csv, write_json
from device_status.ledger import Ledger, own_ms, parse_stored
from device_status.outcomes import Claimed
from support import POOL, device
from support.hostile import FORBIDDEN, HOSTILE, INVISIBLE_USERNAME

EVIL = "=cmd|'/c calc'!A1<script>alert(1)</script>"
FORMULA_SIGNS = tuple("=+-@|%＝＋－＠｜％−﹢﹣﹦﹫⁺")
"""What begins a formula, and what some programs convert to it."""
INCIDENT_FIELDS = (
    "incident_id",
    "user_pool_id",
    "status",
    "lane",
    "reason",
    "requested_by",
    "phase",
    "input_error",
)


@pytest.fixture
def incidents(settings: Settings) -> Incidents:
    return Incidents(settings)


@pytest.fixture
def ended(incidents: Incidents, ledger: Ledger) -> str:
    """An incident with three devices: one applied, one dead-lettered, one superseded."""
    devices = [("ada", device(1)), ("grace", device(2)), ("linus", device(3))]
    incidents.open(
        "INC-1", user_pool_id=POOL, devices=devices, reason="stolen\nlaptops", requested_by="<b>eve</b>"
    )
    settle_all(incidents, ledger)
    return "INC-1"


def settle_all(incidents: Incidents, ledger: Ledger) -> None:
    for number, key in enumerate(ledger.redis.lrange(incident_key("INC-1", "devices"), 0, -1)):
        command = parse_stored(ledger.redis.hget(f"device-status:command:{key}", "command"))
        assert command is not None
        claim = ledger.claim(command, Lane.BULK)
        assert isinstance(claim, Claimed)
        if number % 3 == 1:
            ledger.dead_letter(claim, "UserNotFoundException", EVIL, "request-1")
        else:
            ledger.succeed(claim, f"request-{number}")


def verify(incidents: Incidents, found: str) -> None:
    """A verification that finds the one device with this status."""
    incidents.verify("INC-1")
    run = incidents.ledger.redis.hget(incident_key("INC-1", "verification"), "run")
    (key,) = incidents.ledger.redis.lrange(incident_key("INC-1", "devices"), 0, -1)
    scripts = incidents.ledger.scripts
    scripts.run("verify_page", [], "INC-1", run, "ada", "not_remembered", 1, key, device(1), found)
    leased = scripts.run("listing_claim", [], "worker-1", 60_000, own_ms())
    assert leased[:4] == ["devices", "verify", "INC-1", "ada"]
    settled = ["verified", 1, 0, 0, "", "", "", 60_000]
    scripts.run("listing_settle", [], "verify", "INC-1", "ada", "worker-1", *settled)


def as_json(incidents: Incidents) -> str:
    out = io.StringIO()
    write_json(records(incidents, "INC-1"), out)
    return out.getvalue()


def as_csv(incidents: Incidents) -> str:
    out = io.StringIO()
    write_csv(records(incidents, "INC-1"), out)
    return out.getvalue()


class TestContent:
    def test_it_says_who_asked_why_and_when(self, incidents: Incidents, ended: str) -> None:
        incident = next(records(incidents, ended))
        assert incident["record"] == "incident"
        assert (incident["reason"], incident["requested_by"]) == (r"stolen\nlaptops", "<b>eve</b>")
        assert incident["opened_at"] < incident["ended_at"]

    def test_it_says_what_became_of_every_device(self, incidents: Incidents, ended: str) -> None:
        found = [record for record in records(incidents, ended) if record["record"] == "device"]
        assert [(each["username"], each["device_key"], each["outcome"]) for each in found] == [
            ("ada", device(1), "succeeded"),
            ("grace", device(2), "dead_lettered"),
            ("linus", device(3), "succeeded"),
        ]
        assert [each["request_id"] for each in found] == ["request-0", "request-1", "request-2"]
        assert found[1]["error_code"] == "UserNotFoundException"

    def test_it_says_what_became_of_every_user(self, incidents: Incidents, ended: str) -> None:
        found = [record for record in records(incidents, ended) if record["record"] == "user"]
        assert {each["username"]: each["outcome"] for each in found} == dict.fromkeys(
            ("ada", "grace", "linus"), "given"
        )

    def test_twice_it_is_the_same(self, incidents: Incidents, ended: str) -> None:
        assert as_json(incidents) == as_json(incidents)


class TestDigest:
    def test_json_is_checked_by_it(self, incidents: Incidents, ended: str) -> None:
        text = as_json(incidents)
        assert check_report(io.StringIO(text, newline="")) == json.loads(text)["records_sha256"]
        # As docs/incident-report.md says how to do it without our software.
        lines = "".join(canonical(each) + "\n" for each in json.loads(text)["records"])
        assert hashlib.sha256(lines.encode()).hexdigest() == json.loads(text)["records_sha256"]

    def test_csv_is_checked_by_it(self, incidents: Incidents, ended: str) -> None:
        text = as_csv(incidents)
        *lines, last = text.splitlines(keepends=True)
        digest = hashlib.sha256("".join(lines).encode()).hexdigest()
        assert check_report(io.StringIO(text, newline="")) == digest
        assert last == f"lines_sha256{',' * 17}{digest}\r\n"

    @pytest.mark.parametrize("write", [as_json, as_csv])
    def test_any_change_is_seen(self, write: Any, incidents: Incidents, ended: str) -> None:
        text = write(incidents)
        changed = [
            text.replace("succeeded", "cancelled", 1),
            "".join(line for line in text.splitlines(keepends=True) if "grace" not in line),
            text.replace("request-0", "request-9"),
        ]
        for each in changed:
            assert each != text
            with pytest.raises(BrokenReportError):
                check_report(io.StringIO(each, newline=""))

    @pytest.mark.parametrize(
        "text",
        [
            *("", "hello\n", '{"format":"x"', "record,\n", '{"format":"x"\n]', '{"format":"x"\n],"a":1}'),
            '{"format":"device-status incident report 2","records":[\n{}\n],"records_sha256":"x"}\n',
            '{"format":"device-status incident report 1","records":[\n' + "[" * 100_000,
            '{"format":"device-status incident report 1","records":[\n{"a":"\\ud800"}\n',
        ],
        ids=lambda text: text[:40],
    )
    def test_what_is_no_report_is_told(self, text: str) -> None:
        with pytest.raises(BrokenReportError):
            check_report(io.StringIO(text, newline=""))

    @pytest.mark.parametrize("write", [as_json, as_csv])
    def test_nothing_stands_beside_what_was_checked(
        self, write: Any, incidents: Incidents, ended: str
    ) -> None:
        text = write(incidents)
        *lines, last = text.splitlines(keepends=True)
        for each in (
            *(text + more for more in ("\n", " ", "\r\n", "x", "record,eve\r\n", last)),
            *(text[:-less] for less in (1, 2, 3)),
            "\ufeff" + text,
            "".join(lines) + "note," + last,
            "".join(lines) + last.upper(),
            text.replace("\r\n", "\n") if write is as_csv else text.replace("\n", "\r\n"),
        ):
            with pytest.raises(BrokenReportError):
                check_report(io.StringIO(each, newline=""))

    def test_a_reader_that_takes_the_first_of_two_fields_sees_what_was_checked(
        self, incidents: Incidents, ended: str
    ) -> None:
        text = as_json(incidents)
        for old, new in [
            ('"username":"grace"', '"username":"eve","username":"grace"'),
            ('"username":"grace"', '"username": "grace"'),
            ('"username":"grace"', '"username":"gr\\u0061ce"'),
            ('],"records_sha256":', '],"records":[],"records_sha256":'),
            ('],"records_sha256":', '],"records_sha256":"0","records_sha256":'),
            ('"attempts":1', '"attempts":1.0'),
        ]:
            assert text.count(old)
            with pytest.raises(BrokenReportError):
                check_report(io.StringIO(text.replace(old, new), newline=""))

    def test_an_edited_report_can_be_given_a_new_one_and_help_says_so(
        self, incidents: Incidents, ended: str
    ) -> None:
        found = [each for each in records(incidents, ended) if each.get("username") != "grace"]
        out = io.StringIO()
        assert check_report(io.StringIO(as_json(incidents), newline="")) != write_json(found, out)
        assert check_report(io.StringIO(out.getvalue(), newline=""))
        shown = CliRunner().invoke(app, ["incident", "check-report", "--help"], env={"COLUMNS": "400"})
        words = " ".join(shown.stdout.split())
        assert "it has no key, so whoever can edit the file can also compute a new SHA-256" in words

    def test_the_page_has_that_of_the_json(self, incidents: Incidents, ended: str) -> None:
        out = io.StringIO()
        digest = write_html(records(incidents, ended), timeline(incidents, ended), out)
        assert digest == json.loads(as_json(incidents))["records_sha256"]
        assert digest in out.getvalue()

    def test_a_canonical_line_has_its_names_sorted_and_no_spaces(self) -> None:
        assert canonical({"b": "é", "a": None}) == '{"a":null,"b":"é"}'


class TestHarmless:
    def test_a_spreadsheet_runs_no_cell(self, incidents: Incidents, ended: str) -> None:
        rows = list(csv.DictReader(io.StringIO(as_csv(incidents), newline="")))
        cells = [cell for row in rows for cell in row.values() if cell]
        assert "'" + EVIL in cells
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]

    @pytest.mark.parametrize(
        "blanks", ["", " ", "\u3000 ", "'", '"', "\t", "\r\n", "\ufeff", "\u200b", "a;", "a; '"]
    )
    @pytest.mark.parametrize("sign", FORMULA_SIGNS)
    def test_no_cell_begins_like_a_formula(self, sign: str, blanks: str) -> None:
        text = f"{blanks}{sign}1+1"
        out = io.StringIO()
        write_csv([{"record": "user", "username": text, "error_message": text}], out)
        row, _ = csv.DictReader(io.StringIO(out.getvalue(), newline=""))
        for cell in (row["username"], row["error_message"]):
            # In half of the world a spreadsheet ends cells at semicolons, quotes or not.
            for part in cell.split(";"):
                assert part[0] in "'\\a"
            assert FORBIDDEN.search(cell) is None
            assert cell.endswith(f"{sign}1+1")

    @given(st.text(st.sampled_from([*FORMULA_SIGNS, *"a1;,|\"' \t\r\n", "\u200b", "\x1b"])))
    def test_whatever_the_text_a_cell_is_read_back_as_text(self, text: str) -> None:
        out = io.StringIO()
        write_csv([{"record": "user", "username": text}], out)
        cell = next(iter(csv.DictReader(io.StringIO(out.getvalue(), newline=""))))["username"]
        assert not any(part.lstrip(' "').startswith(FORMULA_SIGNS) for part in cell.split(";"))
        # The apostrophes can be taken away again.
        assert re.sub(rf"(^|;)'(?=[\s'\"]*[{re.escape(''.join(FORMULA_SIGNS))}])", r"\1", cell) == printable(
            text
        )

    def test_each_format_is_harmless_to_look_at(self, ledger: Ledger, incidents: Incidents) -> None:
        incidents.open(
            "INC-1",
            user_pool_id=POOL,
            devices=[(INVISIBLE_USERNAME, device(1))],
            reason=HOSTILE,
            requested_by=HOSTILE,
        )
        settle_all(incidents, ledger)
        page = io.StringIO()
        write_html(records(incidents, "INC-1"), timeline(incidents, "INC-1"), page)
        for text in (as_json(incidents), as_csv(incidents).replace("\r\n", "\n"), page.getvalue()):
            assert not FORBIDDEN.search(text)
        # The name of a user is evidence, and stays as it is.
        found = json.loads(as_json(incidents))["records"]
        assert {each["username"] for each in found[1:]} == {INVISIBLE_USERNAME}

    def test_no_markup_of_others_is_in_the_page(self) -> None:
        marks = "<i>'\"&</i>"
        incident = dict.fromkeys(INCIDENT_FIELDS, marks) | {
            "record": "incident", "verification": dict.fromkeys(["as_ordered", marks], marks),
            "refused": 1, "is_over": True, "all_succeeded": True, "devices": 1,
        }  # fmt: skip
        incident["verification"] |= {"ended_at": None, "is_as_ordered": True}
        rows = [
            dict.fromkeys(COLUMNS, marks)
            | {"record": record, "issued_at": None, "entered_at": None, "finished_at": None}
            for record in ("user", "device", "finding")
        ]
        out = io.StringIO()
        write_html([incident, *rows], [], out)
        assert "<i>" not in out.getvalue()
        texts: list[str] = []

        class Texts(HTMLParser):
            def handle_data(self, data: str) -> None:
                texts.append(data)

        Texts().feed(out.getvalue())
        assert texts.count(marks) > 30

    def test_the_page_forbids_the_browser_to_run_and_to_fetch(self, incidents: Incidents, ended: str) -> None:
        out = io.StringIO()
        write_html(records(incidents, ended), [], out)
        head = out.getvalue().partition("<style>")[0]
        assert "Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\"" in head

    def test_the_page_runs_nothing_and_fetches_nothing(self, incidents: Incidents, ended: str) -> None:
        out = io.StringIO()
        write_html(records(incidents, ended), timeline(incidents, ended), out)
        seen: list[tuple[str, dict[str, str | None]]] = []

        class Tags(HTMLParser):
            def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
                seen.append((tag, dict(attrs)))

        Tags().feed(out.getvalue())
        assert {tag for tag, _ in seen}.isdisjoint({"script", "link", "img", "iframe", "b"})
        assert not [attrs for _, attrs in seen if {"src", "href", "onclick", "onload"} & attrs.keys()]


class TestPage:
    def page(self, incidents: Incidents) -> str:
        out = io.StringIO()
        write_html(records(incidents, "INC-1"), timeline(incidents, "INC-1"), out)
        return out.getvalue()

    def test_one_verdict_stands_at_its_head(self, incidents: Incidents, ended: str) -> None:
        assert "Not everything came to what was ordered." in self.page(incidents)

    def test_what_a_verification_found_is_part_of_the_verdict(
        self, incidents: Incidents, ledger: Ledger
    ) -> None:
        incidents.open("INC-1", user_pool_id=POOL, devices=[("ada", device(1))])
        settle_all(incidents, ledger)
        assert "The devices were not listed again afterwards." in self.page(incidents)
        for found, verdict in [
            ("remembered", "not every device was as ordered."),
            ("not_remembered", "every device was as ordered."),
        ]:
            verify(incidents, found)
            assert f"isted again, {verdict}" in self.page(incidents).replace(
                "when they were listed", "Listed"
            )

    def test_what_the_input_held_besides_is_told(self, incidents: Incidents, ledger: Ledger) -> None:
        incidents.open("INC-1", user_pool_id=POOL, devices=[("ada", device(1))], refused=lambda: 3)
        assert "3 lines of the input were refused" in self.page(incidents)
        assert next(records(incidents, "INC-1"))["refused"] == 3

    def test_who_asked_and_why_is_told_even_where_nobody_said(
        self, incidents: Incidents, ledger: Ledger
    ) -> None:
        incidents.open("INC-1", user_pool_id=POOL, devices=[("ada", device(1))])
        assert self.page(incidents).count("<dd>not given</dd>") == 2


class TestChart:
    def test_it_rises_to_all_devices(self, incidents: Incidents, ended: str) -> None:
        drawn = chart(timeline(incidents, ended), 3)
        assert "<title>3 of 3 devices had their outcome</title>" in drawn

    def test_without_any_outcome_it_says_so(self) -> None:
        assert "No device has had an outcome" in chart([], 0)


class TestSize:
    DEVICES = 5_000

    def test_memory_does_not_grow_with_it(self, incidents: Incidents) -> None:
        devices = ((f"user-{number % 500}", device(number)) for number in range(self.DEVICES))
        incidents.open("INC-1", user_pool_id=POOL, devices=devices)
        for write in (write_json, write_csv, self.write_html):
            out = _Nowhere()
            tracemalloc.start()
            try:
                write(records(incidents, "INC-1"), out)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert out.written > self.DEVICES * 100
            # All records at once are far above; a list of the page is kept up to 4 MB.
            assert peak < 5 * 1024 * 1024

    @staticmethod
    def write_html(found: Any, out: Any) -> None:
        write_html(found, [], out)


class _Nowhere(io.TextIOBase):
    def __init__(self) -> None:
        self.written = 0

    def write(self, text: str, /) -> int:
        self.written += len(text)
        return len(text)
