"""Promises of `device-status import` over generated files: each line has its fate, and nothing is altered."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_status.cli.files.lines import LONGEST
from support.commands import POOL, device
from support.files import HEADER, import_file, json_line, row
from support.servers import Valkey

LINE_ENDS = ["\n", "\r\n", "\r"]
BLANK_LINES = ["", " ", "\t", "  \t "]
# Nothing that looks like a pool, a device key or a status: see what is said of rows within a text.
texts = st.text(
    st.one_of(
        st.sampled_from(list("\"',;|\t\r\n aA9=\u2028\u2029\x85\x0b\x0c\x1c\x1e\u00a0\ufeff😀\x01\x7f")),
        st.characters(exclude_characters="_\0", exclude_categories=("Cs",)),
    ),
    max_size=40,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generated")


def import_once(valkey: Valkey, content: bytes, file: Path) -> Any:
    valkey.flush()
    return import_file({"DEVICE_STATUS_BROKER_URL": valkey.url}, content, file)


def count_lines(text: str) -> int:
    """As an editor does."""
    return len(re.findall(r"\r\n|\r|\n", text)) + (not text.endswith(("\r", "\n")))


@dataclass(frozen=True)
class Dialect:
    """How a file is written by Python's csv module."""

    name: str
    options: dict[str, Any]

    def write(self, rows: list[list[Any]]) -> str:
        text = io.StringIO()
        csv.writer(text, self.name, **self.options).writerows(rows)
        return text.getvalue()


dialects = st.builds(
    Dialect,
    st.sampled_from(["excel", "excel-tab", "unix"]),
    st.fixed_dictionaries(
        {"quoting": st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])},
        optional={
            "delimiter": st.sampled_from([",", ";", "\t", "|"]),
            "lineterminator": st.sampled_from(LINE_ENDS),
        },
    )
    # With fewer quotes the writer leaves a CR bare unless lines end with one, and then no reader can tell.
    | st.fixed_dictionaries(
        {"quoting": st.just(csv.QUOTE_MINIMAL), "lineterminator": st.just("\r\n")},
        optional={"delimiter": st.sampled_from([",", ";", "\t", "|"])},
    ),
)


@given(
    dialect=dialects,
    mark=st.sampled_from(["", "\ufeff"]),
    reasons=st.lists(texts, max_size=8),
    ends=st.booleans(),
    order=st.permutations(["schema_version", *HEADER.split(",")]),
)
def test_what_python_writes_is_read_as_it_was(
    dialect: Dialect,
    mark: str,
    reasons: list[str],
    ends: bool,
    order: list[str],
    valkey: Valkey,
    folder: Path,
) -> None:
    commands = [
        {
            "schema_version": 1,
            "user_pool_id": POOL,
            "username": f'zoë,"{number}"',
            "device_key": device(number),
            "status": "not_remembered",
            "reason": reason,
        }
        for number, reason in enumerate(reasons)
    ]
    text = dialect.write([order, *([command[name] for name in order] for command in commands)])
    if not ends:
        text = re.sub(r"(\r\n|\r|\n)$", "", text)
    done = import_once(valkey, (mark + text).encode(), folder / "devices.csv")
    assert [{name: sent.get(name, "") for name in order} for sent in done.commands] == [
        command | {"reason": command["reason"] if command["reason"].strip(" \t") else ""}
        for command in commands
    ]
    assert done.exit_code == 0
    counts = {"lines": len(commands), "accepted": len(commands), "header": 1}
    counts["continued"] = count_lines(text) - 1 - len(commands)
    assert done.counts == {name: count for name, count in counts.items() if count}


@dataclass(frozen=True)
class Piece:
    """Some lines of a file, and what must come of them."""

    lines: tuple[str, ...]
    sends: int | None = None
    """The device of the command that they are."""
    repeats: bool = False
    is_refused: bool = False
    is_blank: bool = False


def csv_pieces(number: int, delimiter: str) -> st.SearchStrategy[Piece]:
    """Every kind of row, about device `number`; a break of the row is written as ¶.

    None that could end what a stray quote before it opens: then both lines, and all between, are refused.
    """

    def line(reason: str, number: int = number) -> str:
        return delimiter.join(
            [POOL, f"user-{number}", device(number), "not_remembered", reason, f"command-{number}"]
        )

    good = ["lost", '15" laptop', "a\u2028b\x85c\x0bd\x0ce", '"one¶¶ two¶""three"""', '""', '"a¶"']
    bad = ['"15 laptop', '"a"b', "\udcff", "\0", "x" * LONGEST, f"a{delimiter}b", '"a¶\udcff"']
    others = [line("x").replace("not_remembered", "gone"), "lost", '""']
    return st.one_of(
        st.sampled_from([Piece(tuple(line(reason).split("¶")), sends=number) for reason in good]),
        st.sampled_from([Piece(tuple(line(reason).split("¶")), is_refused=True) for reason in bad]),
        st.sampled_from([Piece((text,), is_refused=True) for text in others]),
        st.just(Piece((line("again", 0),), repeats=True)),
        st.sampled_from([Piece((text,), is_blank=True) for text in BLANK_LINES]),
    )


def json_pieces(number: int) -> st.SearchStrategy[Piece]:
    """Every kind of line, about device `number`."""
    text = json_line(number, command_id=f"command-{number}")
    good = [text, f" \t{text} ", json_line(number, reason="X").replace("X", "a\u2028b\x85c")]
    bad = [
        "x",
        text[:-1],
        text + text,
        f"[{text}]",
        text.replace("not_remembered", "gone"),
        text.replace("user-", r"\ud800"),
        "[" * 10_000,
        "9" * 5000,
        "\udcff",
        text + " " * LONGEST,
    ]
    return st.one_of(
        st.sampled_from([Piece((each,), sends=number) for each in good]),
        st.sampled_from([Piece((each,), is_refused=True) for each in bad]),
        st.just(Piece((json_line(0, command_id="command-0"),), repeats=True)),
        st.sampled_from([Piece((each,), is_blank=True) for each in BLANK_LINES]),
    )


@st.composite
def files(draw: st.DrawFn, kind: str) -> tuple[str, list[Piece], int]:
    """A file, its pieces in order, and how many lines its header has."""
    head = []
    if kind == "csv":
        delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
        head = [f"{HEADER},command_id".replace(",", delimiter)]
        if draw(st.booleans()):
            head.insert(0, f"sep={delimiter}")
    count = draw(st.integers(0, 12))
    pieces = [Piece((json_line(0, command_id="command-0"),), sends=0)]
    for number in range(1, count + 1):
        pieces.append(draw(csv_pieces(number, delimiter) if head else json_pieces(number)))
    if head:
        first = row(0, delimiter=delimiter) + f"{delimiter}command-0"
        pieces[0] = Piece((first,), sends=0)
    ends = draw(st.sampled_from([*([end] for end in LINE_ENDS), LINE_ENDS]))
    text = "\ufeff" if draw(st.booleans()) else ""
    for line in [*head, *(line for piece in pieces for line in piece.lines)]:
        # Behind an empty line, an LF could belong to the CR in front of it.
        possible = ends if line else [end for end in ends if end != "\n"] or ends
        text += line + draw(st.sampled_from(possible))
    if pieces[-1].lines[-1] and draw(st.booleans()):
        text = re.sub(r"(\r\n|\r|\n)$", "", text)
    return text, pieces, len(head)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@given(data=st.data())
def test_each_line_is_accepted_repeated_or_refused_by_its_number(
    kind: str, data: st.DataObject, valkey: Valkey, folder: Path
) -> None:
    text, pieces, head = data.draw(files(kind))
    done = import_once(valkey, text.encode(errors="surrogateescape"), folder / f"devices.{kind}")
    refused, number = [], head
    for piece in pieces:
        if piece.is_refused:
            refused += range(number + 1, number + len(piece.lines) + 1)
        number += len(piece.lines)
    sent = [piece.sends for piece in pieces if piece.sends is not None]
    # A repeated one that still waits is published again, and is still one command.
    assert list(dict.fromkeys(done.devices)) == sent
    assert list(done.refused) == refused
    repeated = sum(piece.repeats for piece in pieces)
    assert done.output is not None
    assert {name: count for name, count in done.output.items() if isinstance(count, int)} == {
        "lines": len(sent) + repeated + len(refused),
        "accepted": len(sent),
        "repeated": repeated,
        "refused": len(refused),
        "header": head,
        "blank": sum(piece.is_blank for piece in pieces),
        "continued": sum(len(piece.lines) - 1 for piece in pieces if piece.sends is not None),
        "dry_run": False,
    }
    assert done.exit_code == bool(refused)
    counted = ("lines", "header", "blank", "continued")
    assert sum(done.output[name] for name in counted) == count_lines(text)
