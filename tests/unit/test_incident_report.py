"""Promises about the report: complete, checkable, harmless to open, and small in memory at any size."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from html.parser import HTMLParser
from typing import Any

import pytest

from device_status import Incidents, Lane, Settings
from device_status.incident import incident_key
from device_status.incident_chart import chart
from device_status.incident_html import write_html
from device_status.incident_records import canonical, records, timeline
from device_status.incident_report import BrokenReportError, check_report, write_csv, write_json
from device_status.ledger import Ledger, parse_stored
from device_status.outcomes import Claimed
from support import POOL, device

EVIL = "=cmd|'/c calc'!A1<script>alert(1)</script>"


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
    leased = scripts.run("listing_claim", [], "worker-1", 60_000)
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
        assert (incident["reason"], incident["requested_by"]) == ("stolen laptops", "<b>eve</b>")
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
        assert check_report(io.StringIO(text)) == json.loads(text)["records_sha256"]

    def test_csv_is_checked_by_it(self, incidents: Incidents, ended: str) -> None:
        text = as_csv(incidents)
        assert check_report(io.StringIO(text, newline="")) in text.splitlines()[-1]

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
        ["", "hello\n", '{"format":"x"', "record,\n", '{"format":"x"\n]', '{"format":"x"\n],"a":1}'],
    )
    def test_what_is_no_report_is_told(self, text: str) -> None:
        with pytest.raises(BrokenReportError):
            check_report(io.StringIO(text, newline=""))

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
