"""Promises of `incident open`: no line of a file of users or devices is lost, and none is misread."""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_status import Lane, load_settings
from device_status.incident import incident_key
from device_status.ledger import Ledger
from support.broker import take_commands
from support.commands import POOL, USERNAME, device
from support.files import json_line, text_of
from support.servers import Valkey
from support.strategies import usernames
from support.terminal import COMMAND, run_here

OPEN = ["incident", "open", "INC-1", "--user-pool-id", POOL]


@dataclass(frozen=True)
class Opened:
    """What `incident open` said."""

    exit_code: int
    errors: list[str]

    @property
    def sum(self) -> str:
        """What became of the lines."""
        return self.errors[-1]

    @property
    def refused(self) -> dict[int, str]:
        """Line number → reason."""
        told = [line.removeprefix("line ").split(": ", 1) for line in self.errors if line.startswith("line ")]
        return {int(number): reason for number, reason in told}


def open_incident(
    environment: Mapping[str, str], content: str | bytes, file: Path, *options: str, kind: str = "--users"
) -> Opened:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    done = run_here(environment, *OPEN, kind, str(file), *options)
    assert "Traceback" not in done.stderr
    return Opened(done.returncode, done.stderr.splitlines())


def users_of(ledger: Ledger) -> set[str]:
    """Usernames that wait to be listed."""
    return set(ledger.redis.zrange(incident_key("INC-1", "users"), 0, -1))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users"


class TestUsers:
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
    def test_lines_end_as_they_like(
        self, end: str, environment: dict[str, str], ledger: Ledger, file: Path
    ) -> None:
        names = [f"user-{number}" for number in range(100)]
        done = open_incident(environment, text_of([*names, "", names[7], "a b"], end).removesuffix(end), file)
        assert users_of(ledger) == set(names)
        assert list(done.refused) == [103]
        assert done.sum == "lines: 102; accepted: 100, repeated: 1, refused: 1; blank: 1"
        assert done.exit_code == 1

    def test_those_known_to_the_incident_are_repeated(
        self, environment: dict[str, str], ledger: Ledger, file: Path
    ) -> None:
        open_incident(environment, "ada\ngrace\n", file)
        done = open_incident(environment, "grace\nlinus\n", file)
        assert (done.exit_code, done.sum) == (0, "lines: 2; accepted: 1, repeated: 1, refused: 0")
        assert users_of(ledger) == {"ada", "grace", "linus"}

    def test_a_plan_counts_alike(self, environment: dict[str, str], ledger: Ledger, file: Path) -> None:
        done = open_incident(environment, "ada\nada\n\na b\n", file, "--dry-run")
        assert "lines: 3; accepted: 1, repeated: 1, refused: 1; blank: 1" in done.errors
        assert (done.exit_code, users_of(ledger)) == (1, set())

    def test_spaces_and_tabs_around_a_name_are_trimmed_and_nothing_else(
        self, environment: dict[str, str], ledger: Ledger, file: Path
    ) -> None:
        bad = [
            "\u00a0eve",
            "eve\u3000",
            "eve\u2028",
            "eve\x85",
            "eve\x0b",
            "eve\x1c",
            "\u200beve",
            "a b",
            "a\tb",
            "a\0",
        ]
        done = open_incident(environment, text_of([" ada\t", *bad, "\tgrace "]), file)
        assert users_of(ledger) == {"ada", "grace"}
        assert list(done.refused) == list(range(2, 2 + len(bad)))
        assert "eve" not in "".join(done.errors)

    @pytest.mark.parametrize("name", ['"ada"', "'ada'", "username", "USERNAME"])
    def test_what_comes_of_a_csv_file_is_no_name(
        self, name: str, environment: dict[str, str], ledger: Ledger, file: Path
    ) -> None:
        done = open_incident(environment, text_of([name, "grace", "it's", "O'Brien'"]), file)
        assert users_of(ledger) == {"grace", "it's", "O'Brien'"}
        assert list(done.refused) == [1]

    @pytest.mark.parametrize(
        "first",
        [
            "username,device_key",
            '"username";"device_key"',
            "status\tusername",
            "Username, Device_Key",
            json_line(1),
            '{ "username": "ada" }',
            "[",
            '["ada", "grace"]',
        ],
    )
    def test_csv_and_json_are_refused_as_a_whole(
        self, first: str, environment: dict[str, str], ledger: Ledger, file: Path
    ) -> None:
        done = open_incident(environment, text_of(["", first, "grace,x"]), file)
        assert (done.exit_code, len(done.errors)) == (1, 1)
        assert "line 2 begins a CSV or JSON file: give usernames alone" in done.errors[0]
        assert ledger.redis.keys("*") == []

    @pytest.mark.parametrize(
        "content", [gzip.compress(b"ada\n"), "ada\n".encode("utf-16")], ids=["gz", "UTF-16"]
    )
    def test_what_is_not_utf_8_text_is_refused_as_a_whole(
        self, content: bytes, environment: dict[str, str], ledger: Ledger, file: Path
    ) -> None:
        done = open_incident(environment, content, file)
        assert (done.exit_code, len(done.errors)) == (1, 1)
        assert ledger.redis.keys("*") == []

    def test_a_name_in_latin_1_is_refused_alone(
        self, environment: dict[str, str], ledger: Ledger, file: Path
    ) -> None:
        done = open_incident(environment, "\ufeffada\n".encode() + "zoë\ngrace".encode("latin-1"), file)
        assert users_of(ledger) == {"ada", "grace"}
        assert done.refused == {2: "is not UTF-8"}

    @given(
        lines=st.lists(
            st.tuples(
                st.one_of(
                    usernames.filter(lambda name: name[0] + name[-1] not in ('""', "''")), st.just("ada")
                ),
                st.sampled_from(["", " ", "\t "]),
                st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\r\r", "\r\n \t\r\n"]),
            ),
            max_size=30,
        )
    )
    def test_no_name_is_lost_or_altered(
        self, lines: list[tuple[str, str, str]], valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        valkey.flush()
        names = ["first", *(name for name, _, _ in lines)]
        content = "first\n" + "".join(f"{blank}{name}{blank}{end}" for name, blank, end in lines)
        environment = os.environ | {"DEVICE_STATUS_BROKER_URL": valkey.url}
        done = open_incident(environment, content, tmp_path_factory.getbasetemp() / "names")
        bad = sum(name.lower() == "username" for name in names)
        blank = sum(end in {"\n\n", "\r\r", "\r\n \t\r\n"} for _, _, end in lines)
        new = len(set(names)) - bad
        assert done.sum == (
            f"lines: {len(names)}; accepted: {new}, repeated: {len(names) - new - bad}, refused: {bad}"
            + (f"; blank: {blank}" if blank else "")
        )
        ledger = Ledger(valkey.url, retention=load_settings().retention)
        assert users_of(ledger) == {name for name in names if name.lower() != "username"}


class TestDevices:
    HEADER = "username,device_key"

    def test_lines_are_counted(self, environment: dict[str, str], redis_url: str, file: Path) -> None:
        rows = [f"user-{number},{device(number)}" for number in range(5)]
        content = text_of([self.HEADER, *rows, "", rows[0], f'"ada,{device(9)}', "x"])
        done = open_incident(environment, content, file, kind="--device-file")
        assert list(done.refused) == [9, 10]
        assert done.sum == "lines: 8; accepted: 5, repeated: 1, refused: 2; header: 1, blank: 1"
        assert done.exit_code == 1
        sent = {command["device_key"] for command in take_commands(redis_url, Lane.BULK)}
        assert sent == {device(number) for number in range(5)}

    def test_a_plan_counts_alike(self, environment: dict[str, str], file: Path) -> None:
        content = text_of([self.HEADER, f"ada,{device(1)}", f"ada,{device(1)}", "x"])
        done = open_incident(environment, content, file, "--dry-run", kind="--device-file")
        assert "lines: 3; accepted: 1, repeated: 1, refused: 1; header: 1" in done.errors

    @pytest.mark.parametrize(
        ("fields", "problem"),
        [
            ({"username": 7}, "username: is int"),
            ({"username": None}, "username: is NoneType"),
            ({"device_key": ["x"]}, "device_key: is list"),
            ({"colour": "red"}, "colour: "),
            ({"status": "gone"}, "status: "),
            ({"status": "remembered"}, "status: is not the incident's"),
            ({"user_pool_id": "eu-west-1_Other"}, "user_pool_id: is not the incident's"),
            ({"username": USERNAME + " "}, "username: "),
        ],
        ids=str,
    )
    def test_what_an_import_would_refuse_is_refused(
        self, fields: dict[str, object], problem: str, environment: dict[str, str], redis_url: str, file: Path
    ) -> None:
        content = text_of([json_line(0), json_line(1, **fields), json_line(2)])
        done = open_incident(environment, content, file, kind="--device-file")
        assert list(done.refused) == [2]
        assert done.refused[2].startswith(problem)
        assert USERNAME not in "".join(done.errors)
        assert len(take_commands(redis_url, Lane.BULK)) == 2


def test_an_incident_whose_file_breaks_off_is_not_complete(
    environment: dict[str, str], ledger: Ledger, tmp_path: Path
) -> None:
    """The rest is kept on disk while a quote is open; here the disk is full."""
    file = tmp_path / "devices.csv"
    rows = [f"user-{number},{device(number)}" for number in range(40_000)]
    rows[1500] = '"' + rows[1500]
    file.write_text(text_of([TestDevices.HEADER, *rows]))
    done = subprocess.run(
        [COMMAND, *OPEN, "--device-file", file],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "accepted: 1000, repeated: 0, refused: 0, in doubt: " in line
    assert "the same command again goes on and repeats nothing" in line
    shown = json.loads(run_here(environment, "incident", "status", "INC-1", "--json").stdout)
    assert (shown["devices"], shown["is_input_complete"]) == (1000, False)

    again = run_here(environment, *OPEN, "--device-file", str(file))
    assert again.returncode == 1
    assert "lines: 40000; accepted: 38999, repeated: 1000, refused: 1; header: 1" in again.stderr


def test_a_ledger_that_hangs_says_how_far_it_got(
    environment: dict[str, str], valkey: Valkey, file: Path
) -> None:
    valkey.freeze()
    try:
        done = open_incident(environment, text_of([f"user-{number}" for number in range(3)]), file)
    finally:
        valkey.thaw()
    assert done.exit_code == 4
    assert "accepted: 0, repeated: 0, refused: 0, in doubt: 1; the same command again goes on" in done.sum
