"""Promises of the readers of files: whatever the bytes, and however they arrive, the lines add up."""

from __future__ import annotations

import io
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_status.cli.files import Format, Record, Tally, UnusableFileError, read_records, read_usernames

# What may be taken for a quote, a delimiter, the end of a line or of a text, in any order.
pieces = st.sampled_from(
    [
        *('"', '""', "'", ",", '",', ',"', "\n", "\r", "\r\n", '"\n', '\n"', " ", "\t", "a", "x,y_0"),
        *("{", "}", "[", "é", "\u2028", "\x85", "\x0c", "\0", "\ufeff", "\udcff", "\udcc3"),
        *("\n{}\n", "\nada,eu_0\n", "\nada,lost,eu_0\n", '\nada,"lost\n\n",eu_0\n'),
    ]
)
HEADS = ["", "username,device_key\n", "username,reason,device_key\r\n", "sep=,\rusername,reason,device_key\r"]


class SlowFile(io.RawIOBase):
    """Gives a few bytes at a time, as a pipe may."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)
        self._sizes = random.Random(len(content))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        some = self._content.read(min(len(buffer), self._sizes.randint(1, 9)))
        buffer[: len(some)] = some
        return len(some)


def read(content: bytes, kind: Format | None, *, slowly: bool) -> tuple[list[Record], Tally]:
    file = io.BufferedReader(SlowFile(content)) if slowly else io.BytesIO(content)
    tally = Tally()
    if kind is None:
        return list(read_usernames(file, tally)), tally
    defaults = {"user_pool_id": "eu_1", "status": "remembered"}
    return list(read_records(file, "x", kind, defaults, tally)), tally


@pytest.mark.parametrize("kind", [*Format, None])
@settings(max_examples=300)
@given(head=st.sampled_from(HEADS), body=st.lists(pieces, max_size=60).map("".join))
def test_every_line_is_counted_once(kind: Format | None, head: str, body: str) -> None:
    content = (head + body).encode(errors="surrogateescape")
    try:
        records, tally = read(content, kind, slowly=False)
    except UnusableFileError:
        return
    numbers = [record.number for record in records]
    assert numbers == sorted(set(numbers))
    tally.accepted = sum(record.fields is not None for record in records)
    tally.refused = len(records) - tally.accepted
    assert tally.mistake() is None
    text = (head + body).removeprefix("\ufeff")
    assert tally.file_lines == len(re.findall(r"\r\n|\r|\n|[^\r\n]\Z", text))
    assert read(content, kind, slowly=True)[0] == records
