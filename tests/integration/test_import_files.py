"""Promises of `device-status import`: whatever a file holds, no line of it is lost, and none is misread."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import pytest

from device_status.cli.files.lines import LONGEST
from support.commands import POOL, device
from support.files import HEADER, Imported, import_file, import_stdin, json_line, row, text_of

Q = '"'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "devices.csv"


@pytest.fixture
def json_file(tmp_path: Path) -> Path:
    return tmp_path / "devices.jsonl"


def refuses_the_file(done: Imported, text: str) -> None:
    """One clear line, nothing sent, and the exit code of what was refused."""
    assert (done.exit_code, done.output, done.devices) == (1, None, [])
    (line,) = done.errors
    assert line.startswith("device-status: ")
    assert text in line


class TestStrayQuotes:
    def test_inside_cells_they_are_text(self, environment: dict[str, str], file: Path) -> None:
        """104 rows, of which the second and the last but one hold `15" laptop`: all are sent."""
        reasons = {1: '15" laptop', 102: '15" laptop'}
        rows = [row(number, reasons.get(number, "lost")) for number in range(104)]
        done = import_file(environment, text_of([HEADER, *rows]), file)
        assert done.devices == list(range(104))
        assert done.commands[1]["reason"] == '15" laptop'
        assert (done.exit_code, done.counts) == (0, {"lines": 104, "accepted": 104, "header": 1})

    def test_one_inside_a_cell_of_a_thousand_rows_costs_nothing(
        self, environment: dict[str, str], file: Path
    ) -> None:
        rows = [row(number, '15" laptop' if number == 323 else "lost") for number in range(1000)]
        done = import_file(environment, text_of([HEADER, *rows]), file)
        assert done.devices == list(range(1000))
        assert (done.exit_code, done.counts) == (0, {"lines": 1000, "accepted": 1000, "header": 1})

    @pytest.mark.parametrize("count", [100, 1000, 3000])
    def test_one_that_opens_a_cell_costs_its_own_line(
        self, count: int, environment: dict[str, str], file: Path
    ) -> None:
        """Whether the file or the longest record ends first."""
        rows = [row(number, '"15 laptop' if number == 23 else "lost") for number in range(count)]
        done = import_file(environment, text_of([HEADER, *rows]), file)
        assert done.devices == [number for number in range(count) if number != 23]
        assert done.refused == {25: "opens a quote that is not closed"}
        assert done.counts == {"lines": count, "accepted": count - 1, "refused": 1, "header": 1}
        assert done.exit_code == 1

    def test_two_that_open_cells_cost_two_lines(self, environment: dict[str, str], file: Path) -> None:
        rows = [row(number, '"15 laptop' if number in {1, 102} else "lost") for number in range(104)]
        done = import_file(environment, text_of([HEADER, *rows]), file)
        assert done.devices == [number for number in range(104) if number not in {1, 102}]
        assert list(done.refused) == [3, 104]
        assert done.counts == {"lines": 104, "accepted": 102, "refused": 2, "header": 1}

    def test_two_far_apart_cost_two_lines(self, environment: dict[str, str], file: Path) -> None:
        rows = [row(number, '"15 laptop' if number in {1, 2500} else "lost") for number in range(3000)]
        done = import_file(environment, text_of([HEADER, *rows]), file)
        assert done.devices == [number for number in range(3000) if number not in {1, 2500}]
        assert list(done.refused) == [3, 2502]
        assert done.counts == {"lines": 3000, "accepted": 2998, "refused": 2, "header": 1}

    @pytest.mark.parametrize("between", [0, 1, 100])
    def test_two_that_make_one_record_of_many_cost_all_of_them(
        self, between: int, environment: dict[str, str], file: Path
    ) -> None:
        """They may be one record with text, or rows with stray quotes: none is sent, and each is listed."""
        rows = [row(number) for number in range(between + 4)]
        rows[1], rows[-2] = row(1, '"lost'), row(between + 2, 'lost"')
        done = import_file(environment, text_of([HEADER, *rows]), file)
        assert done.devices == [0, between + 3]
        assert list(done.refused) == list(range(3, between + 5))
        assert f"line {between + 4}" in done.refused[3]
        assert done.counts == {"lines": between + 4, "accepted": 2, "refused": between + 2, "header": 1}

    def test_two_never_put_the_device_of_one_row_to_the_user_of_another(
        self, environment: dict[str, str], file: Path
    ) -> None:
        lines = [
            "username,reason,device_key,user_pool_id,status",
            f'ada,"stolen,{device(1)},{POOL},not_remembered',
            f'bob,lost",{device(2)},{POOL},remembered',
        ]
        done = import_file(environment, text_of(lines), file)
        assert done.devices == []
        assert list(done.refused) == [2, 3]

    def test_one_row_with_too_many_cells_through_quotes_is_listed_line_by_line(
        self, environment: dict[str, str], file: Path
    ) -> None:
        lines = [HEADER, row(0), f'{POOL},"ada', "", "some,text", 'bob",x,y,z,too,many', row(1)]
        done = import_file(environment, text_of(lines), file)
        assert done.devices == [0, 1]
        assert list(done.refused) == [3, 5, 6]
        assert done.counts == {"lines": 5, "accepted": 2, "refused": 3, "header": 1, "blank": 1}

    def test_text_after_a_quote_costs_its_own_line(self, environment: dict[str, str], file: Path) -> None:
        done = import_file(environment, text_of([HEADER, row(0), row(1, '"a"b'), row(2)]), file)
        assert done.devices == [0, 2]
        assert list(done.refused) == [3]
        assert "is not valid CSV" in done.refused[3]


class TestRecordsOverSeveralLines:
    def test_are_sent_as_they_are_and_count_once(self, environment: dict[str, str], file: Path) -> None:
        reason = 'The laptop,\r\nthe "new" one,\n\nis gone.'
        content = text_of(
            [HEADER, row(0, '"' + reason.replace('"', '""') + '"'), row(1, "lost"), row(2, "x")]
        )
        done = import_file(environment, content, file)
        assert done.devices == [0, 1, 2]
        assert done.commands[0]["reason"] == reason
        assert done.counts == {"lines": 3, "accepted": 3, "header": 1, "continued": 3}

    def test_their_text_is_never_taken_for_a_record(self, environment: dict[str, str], file: Path) -> None:
        """Somebody may have written a row into a text, so that it is sent."""
        text = f'"lost\n{row(666)}\nand found"'
        done = import_file(environment, text_of([HEADER, row(0, text), row(1)]), file)
        assert done.devices == [1]
        assert list(done.refused) == [2, 3, 4]

    @pytest.mark.parametrize("filling", [LONGEST, 3 * 1024 * 1024])
    def test_not_in_a_text_that_is_too_long_either(
        self, filling: int, environment: dict[str, str], file: Path
    ) -> None:
        count = filling // 64 + 1
        text = '"lost\n' + ("y" * 63 + "\n") * count + f"{row(666)}\n\n" + 'and ""found"""'
        done = import_file(environment, text_of([HEADER, row(0, text), row(1)]), file)
        assert done.devices == [1]
        assert done.counts == {
            "lines": count + 4, "accepted": 1, "refused": count + 3, "header": 1, "blank": 1,
        }  # fmt: skip
        assert done.refused[2] == f"begins a record of more than {LONGEST} characters"

    def test_not_in_a_text_with_a_line_that_is_too_long(
        self, environment: dict[str, str], file: Path
    ) -> None:
        long = "y" * (LONGEST + 1)
        content = text_of(
            [HEADER, row(0, f'"{long}\n{row(666)}\n{long}"'), row(1), row(2, f'"{long}"'), row(3)]
        )
        done = import_file(environment, content, file)
        assert done.devices == [1, 3]
        assert list(done.refused) == [2, 3, 4, 6]

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"y" * (LONGEST + 1), f"line 3 is longer than {LONGEST} characters"),
            (b"a\0b", "line 3 holds a NUL byte"),
            (b"Zo\xeb", "line 3 is not UTF-8"),
        ],
        ids=["too long", "NUL", "not UTF-8"],
    )
    def test_with_an_unusable_line_are_refused_line_by_line(
        self, content: bytes, problem: str, environment: dict[str, str], file: Path
    ) -> None:
        """Sent without that line, their text would be another."""
        whole = text_of([HEADER, row(0, '"lost\nLINE\nfound"'), row(1)]).encode()
        done = import_file(environment, whole.replace(b"LINE", content), file)
        assert done.devices == [1]
        assert list(done.refused) == [2, 3, 4]
        assert done.refused[2] == f"can't be used: {problem}"

    def test_not_in_a_text_that_is_not_utf_8(self, environment: dict[str, str], file: Path) -> None:
        content = text_of([HEADER, row(0, f'"Zo\xeb\n{row(666)}\nx"'), row(1)]).encode("latin-1")
        done = import_file(environment, content, file)
        assert done.devices == [1]
        assert done.refused[2] == "is not UTF-8"
        assert list(done.refused) == [2, 3, 4]


class TestLineEnds:
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
    @pytest.mark.parametrize("last", [True, False], ids=["ended", "not ended"])
    def test_any_will_do(self, end: str, last: bool, environment: dict[str, str], file: Path) -> None:
        content = text_of([HEADER, *map(row, range(100))], end)
        done = import_file(environment, content if last else content.removesuffix(end), file)
        assert done.devices == list(range(100))
        assert (done.exit_code, done.counts) == (0, {"lines": 100, "accepted": 100, "header": 1})

    def test_they_may_be_mixed(self, environment: dict[str, str], file: Path) -> None:
        content = f"{HEADER}\r\n\r\r{row(0)}\n{row(1)}\r{row(2)}\r\n\n{row(3)}"
        done = import_file(environment, content, file)
        assert done.devices == [0, 1, 2, 3]
        assert done.counts == {"lines": 4, "accepted": 4, "header": 1, "blank": 3}
        ids = [command["idempotency_key"].rpartition(":")[2] for command in done.commands]
        assert ids == ["4", "5", "6", "8"]

    @pytest.mark.parametrize(
        "character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"], ids=repr
    )
    @pytest.mark.parametrize("kind", ["csv", "jsonl"])
    def test_nothing_else_is_one(
        self, character: str, kind: str, environment: dict[str, str], file: Path
    ) -> None:
        reason = f"one{character}two"
        lines = [HEADER, row(0, reason), row(1)]
        if kind == "jsonl":
            raw = json_line(0, reason="REASON").replace("REASON", reason if character > " " else "x")
            lines = [raw, json_line(1, reason=reason)]
        done = import_file(environment, text_of(lines), file, "--format", kind)
        assert done.devices == [0, 1]
        assert reason in [command.get("reason") for command in done.commands]
        assert done.counts["lines"] == 2

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
    @pytest.mark.parametrize("over", [-1, 0, 1, 2, 3])
    @pytest.mark.parametrize("pieces", [1, 2])
    def test_of_lines_about_as_long_as_may_be(
        self, end: str, over: int, pieces: int, environment: dict[str, str], json_file: Path
    ) -> None:
        """The end of a line may lie on both sides of what is read at once."""
        size = LONGEST + over + (pieces - 1) * (LONGEST + 2)
        long = json_line(0) + " " * (size - len(json_line(0)))
        done = import_file(environment, text_of([long, json_line(1), "", json_line(2)], end), json_file)
        if size <= LONGEST:
            assert (done.devices, done.refused) == ([0, 1, 2], {})
        else:
            assert (done.devices, done.refused) == ([1, 2], {1: "is longer than 65536 characters"})
        assert done.counts["lines"] == 3
        assert done.counts["blank"] == 1


class TestEncodings:
    def test_a_byte_order_mark_is_no_part_of_the_header(
        self, environment: dict[str, str], file: Path
    ) -> None:
        done = import_file(environment, text_of([HEADER, row(0)]).encode("utf-8-sig"), file)
        assert (done.exit_code, done.devices) == (0, [0])

    @pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
    def test_a_line_in_another_is_refused_alone(
        self, encoding: str, environment: dict[str, str], file: Path
    ) -> None:
        content = text_of([HEADER, row(0), row(1, "Zoë"), row(2)]).encode(encoding)
        done = import_file(environment, content, file)
        assert (done.exit_code, done.devices, done.refused) == (1, [0, 2], {3: "is not UTF-8"})

    def test_surrogates_in_utf_8_are_not_utf_8(self, environment: dict[str, str], file: Path) -> None:
        content = text_of([HEADER, row(0, "\ud800"), row(1)]).encode(errors="surrogatepass")
        done = import_file(environment, content, file)
        assert (done.devices, done.refused) == ([1], {2: "is not UTF-8"})

    def test_a_line_with_a_nul_is_refused_alone(self, environment: dict[str, str], file: Path) -> None:
        done = import_file(environment, text_of([HEADER, row(0), row(1, "a\0b"), row(2)]), file)
        assert (done.exit_code, done.devices, done.refused) == (1, [0, 2], {3: "holds a NUL byte"})

    @pytest.mark.parametrize("name", ["devices.csv", "devices.jsonl", "devices.txt"])
    @pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
    def test_a_file_in_utf_16_or_32_is_refused(
        self, encoding: str, name: str, environment: dict[str, str], tmp_path: Path
    ) -> None:
        content = text_of([HEADER, row(0)]).encode(encoding)
        refuses_the_file(import_file(environment, content, tmp_path / name), "save it as UTF-8")

    @pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le"])
    def test_even_without_its_mark(self, encoding: str, environment: dict[str, str], file: Path) -> None:
        content = text_of([HEADER, row(0)]).encode(encoding)
        refuses_the_file(
            import_file(environment, content, file), "line 1 must be a header, but it holds a NUL byte"
        )

    @pytest.mark.parametrize(
        "compress", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"]
    )
    def test_a_compressed_file_is_refused(
        self, compress: Any, environment: dict[str, str], file: Path
    ) -> None:
        content = compress(text_of([HEADER, *map(row, range(100))]).encode())
        refuses_the_file(import_file(environment, content, file), "is compressed: decompress it first")

    def test_a_workbook_is_refused(self, environment: dict[str, str], file: Path) -> None:
        workbook = io.BytesIO()
        with zipfile.ZipFile(workbook, "w") as archive:
            archive.writestr("xl/workbook.xml", "<workbook/>")
        refuses_the_file(import_file(environment, workbook.getvalue(), file), "save it as CSV")


class TestHeader:
    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("named", [True, False], ids=["named", "not named"])
    def test_tells_the_delimiter(
        self, delimiter: str, named: bool, environment: dict[str, str], file: Path
    ) -> None:
        lines = [f"sep={delimiter}"] * named + [HEADER.replace(",", delimiter)]
        lines += [row(0, "a, b; c", delimiter) if delimiter not in ",;" else row(0, "a", delimiter), ""]
        done = import_file(environment, text_of(lines), file)
        assert (done.exit_code, done.devices) == (0, [0])
        assert done.counts == {"lines": 1, "accepted": 1, "header": 1 + named, "blank": 1}

    def test_excel_may_name_another_delimiter(self, environment: dict[str, str], file: Path) -> None:
        lines = ["SEP=^", HEADER.replace(",", "^"), row(0, "a,b", "^")]
        done = import_file(environment, text_of(lines, "\r\n"), file)
        assert (done.devices, done.commands[0]["reason"]) == ([0], "a,b")

    def test_may_be_quoted_and_have_spaces(self, environment: dict[str, str], file: Path) -> None:
        header = ", ".join(f'"{name}"' if name == "user_pool_id" else name for name in HEADER.split(","))
        done = import_file(environment, text_of(["", " ", header, row(0)]), file)
        assert (done.exit_code, done.devices) == (0, [0])
        assert done.counts == {"lines": 1, "accepted": 1, "header": 1, "blank": 2}

    @pytest.mark.parametrize(
        ("header", "problem"),
        [
            (HEADER + ",username", "a column appears twice"),
            (HEADER + ",colour", "a column is unknown"),
            (HEADER + ",", "a column is unknown"),
            (HEADER.replace("username", "Username"), "missing columns: username"),
            (HEADER.replace(",", ":"), "missing columns: user_pool_id, username, device_key, status"),
            ("'" + HEADER.replace(",", "','") + "'", "missing columns"),
            (HEADER + ',"', "missing columns"),
            (f"{HEADER},\xff", "but it is not UTF-8"),
            (f"{HEADER},{'x' * LONGEST}", f"but it is longer than {LONGEST} characters"),
        ],
    )
    def test_refuses_the_file_if_it_is_wrong(
        self, header: str, problem: str, environment: dict[str, str], file: Path
    ) -> None:
        content = text_of(["", header, row(0)]).encode("latin-1")
        done = import_file(environment, content, file)
        refuses_the_file(done, "line 2 must be a header")
        assert problem in done.errors[0]
        assert "colour" not in done.errors[0]

    @pytest.mark.parametrize("content", ["", "\n", "\ufeff", "sep=;\n"])
    def test_must_be_there(self, content: str, environment: dict[str, str], file: Path) -> None:
        refuses_the_file(import_file(environment, content, file), "must be a header: missing columns")


class TestRows:
    def test_with_too_few_or_many_cells_are_refused_alone(
        self, environment: dict[str, str], file: Path
    ) -> None:
        lines = [HEADER, row(0), "x", f"{POOL},ada", f"{row(1)},", ",,,,", '""', row(2)]
        done = import_file(environment, text_of(lines), file)
        assert done.devices == [0, 2]
        assert {number: reason[:35] for number, reason in done.refused.items()} == {
            3: "has 1 cell; the header has 5",
            4: "has 2 cells; the header has 5",
            5: "has 6 cells; the header has 5",
            6: "user_pool_id: is missing; it is req",
            7: "has 1 cell; the header has 5",
        }

    def test_an_apostrophe_quotes_nothing(self, environment: dict[str, str], file: Path) -> None:
        done = import_file(environment, text_of([HEADER, row(0, "it's"), row(1, "'a'")]), file)
        assert [command["reason"] for command in done.commands] == ["it's", "'a'"]

    def test_a_cell_of_spaces_and_tabs_is_not_given_and_others_are_kept(
        self, environment: dict[str, str], file: Path
    ) -> None:
        reasons = [" \t", "\u00a0", " x ", '"\n"', "\u3000"]
        done = import_file(environment, text_of([HEADER, *map(row, range(5), reasons)]), file)
        assert [command.get("reason") for command in done.commands] == [None, "\u00a0", " x ", "\n", "\u3000"]

    def test_one_of_a_username_with_spaces_around_it_is_refused(
        self, environment: dict[str, str], file: Path
    ) -> None:
        lines = [HEADER, *(row(0).replace("user-0", name) for name in (" ada", "ada ", "ada\u00a0", "a b"))]
        done = import_file(environment, text_of(lines), file)
        assert (done.devices, list(done.refused)) == ([], [2, 3, 4, 5])

    def test_of_python_s_own_dialects_lose_nothing(self, environment: dict[str, str], file: Path) -> None:
        reasons = ["", 'a "b"', "a,b;c\td|e", "one\r\ntwo\nthree", "'", "zoë\u2028"]
        for dialect in csv.list_dialects():
            for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC):
                text = io.StringIO()
                writer = csv.writer(text, dialect, quoting=quoting)
                writer.writerow(["schema_version", *HEADER.split(",")])
                for number, reason in enumerate(reasons):
                    writer.writerow([1, *row(number, "").split(",")[:4], reason])
                done = import_file(environment, text.getvalue(), file, "--import-id", f"{dialect}{quoting}")
                assert done.devices == list(range(len(reasons)))
                assert [command.get("reason", "") for command in done.commands] == reasons


class TestRepeated:
    def test_is_counted_apart_from_accepted(self, environment: dict[str, str], json_file: Path) -> None:
        lines = [
            json_line(number, command_id=f"c-{number % 3}", device_key=device(number % 3))
            for number in range(5)
        ]
        lines = [line.replace(f"user-{number}", "ada") for number, line in enumerate(lines)]
        first = import_file(environment, text_of([*lines, "{"]), json_file)
        assert first.counts == {"lines": 6, "accepted": 3, "repeated": 2, "refused": 1}
        again = import_file(environment, text_of(lines), json_file)
        assert (again.exit_code, again.counts) == (0, {"lines": 5, "repeated": 5})


class TestJSONLines:
    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("{", "is not JSON: "),
            ("nothing", "is not JSON: Expecting value, column 1"),
            ("{}{}", "holds more than one JSON value"),
            (json_line(9) + " " + json_line(8), "holds more than one JSON value"),
            (f"[{json_line(9)}]", "is not a JSON object"),
            ('"text"', "is not a JSON object"),
            ("null", "is not a JSON object"),
            ('{"status": "remembered", "status": "remembered"}', "repeats a field"),
            ('{"user_pool_id": {"a": 1, "a": 2}}', "repeats a field"),
            (json_line(9, schema_version=1).replace(" 1}", " NaN}"), "holds NaN, which is not JSON"),
            (
                json_line(9, schema_version=1).replace(" 1}", " -Infinity}"),
                "holds -Infinity, which is not JSON",
            ),
            ("[" * 10_000, "is nested too deeply"),
            ('{"a":' * 10_000, "is nested too deeply"),
            (
                json_line(9, schema_version=1).replace(" 1}", f" {'9' * 5000}}}"),
                "holds a number that is too long",
            ),
            (json_line(9, username=r"\ud800").replace(r"\\", "\\"), "username: "),
            (json_line(9, reason=r"a\udfff").replace(r"\\", "\\"), "reason: "),
            (json_line(9, colour=1).replace("colour", r"\ud800"), "command: "),
            (json_line(9, username="a\nb"), "username: "),
            (json_line(9) + "\0", "holds a NUL byte"),
            ("\u00a0", "is not JSON"),
            ("\ufeff" + json_line(9), "is not JSON"),
        ],
    )
    def test_a_bad_one_is_refused_alone(
        self, line: str, problem: str, environment: dict[str, str], json_file: Path
    ) -> None:
        done = import_file(environment, text_of([json_line(0), "", line, " \t", json_line(1)]), json_file)
        assert done.devices == [0, 1]
        assert list(done.refused) == [3]
        assert done.refused[3].startswith(problem)
        assert done.counts == {"lines": 3, "accepted": 2, "refused": 1, "blank": 2}

    @pytest.mark.parametrize("name", ["devices.json", "devices"])
    @pytest.mark.parametrize(
        "content",
        [
            json.dumps([json.loads(json_line(number)) for number in range(3)]),
            json.dumps([json.loads(json_line(number)) for number in range(3)], indent=2),
            json.dumps(json.loads(json_line(0)), indent=2),
            "\n \n[\n]",
        ],
        ids=["array", "array over lines", "object over lines", "empty"],
    )
    def test_json_over_lines_is_refused_as_a_whole(
        self, content: str, name: str, environment: dict[str, str], tmp_path: Path
    ) -> None:
        done = import_file(environment, content, tmp_path / name)
        refuses_the_file(done, "write each object on one line of its own")

    def test_of_several_line_ends_and_a_byte_order_mark(
        self, environment: dict[str, str], json_file: Path
    ) -> None:
        content = "\ufeff" + json_line(0) + "\r\n\r" + json_line(1) + "\r" + json_line(2)
        done = import_file(environment, content, json_file)
        assert (done.devices, done.counts) == ([0, 1, 2], {"lines": 3, "accepted": 3, "blank": 1})


def test_the_format_is_found_in_a_slow_pipe(environment: dict[str, str]) -> None:
    """The first piece that arrives may hold nothing but blanks."""
    done = import_stdin(environment, " \n" * 70_000 + text_of(list(map(json_line, range(3)))))
    assert done.devices == [0, 1, 2]
    assert done.counts == {"lines": 3, "accepted": 3, "blank": 70_000}
