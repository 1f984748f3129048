"""Promises about text of others: it steers no screen, hides nothing, and stays readable."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_status.clean import escaped_json, printable
from support.hostile import FORBIDDEN, HOSTILE, ORDINARY, STEERS

ANY_TEXT = st.text(st.characters(codec=None)) | st.text(st.sampled_from(HOSTILE + "\ud800\udfff aé\\"))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
    max_leaves=8,
)


class TestPrintable:
    @pytest.mark.parametrize("text", STEERS.values(), ids=STEERS)
    def test_nothing_in_it_steers_a_screen(self, text: str) -> None:
        assert not FORBIDDEN.search(printable(text))
        assert "\n" not in printable(text)

    @pytest.mark.parametrize("text", ORDINARY)
    def test_what_people_write_stays_as_it_is(self, text: str) -> None:
        assert printable(text) == text

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("a\x1b[2Jb", r"a\x1b[2Jb"),
            ("one\ntwo\r\tthree", r"one\ntwo\r\tthree"),
            ("\u202egpj", r"\u202egpj"),
            ("a\x85b\x9bc\x7f", r"a\x85b\x9bc\x7f"),
            ("\U000e0041", r"\U000e0041"),
            ("half: \ud83d", r"half: \ud83d"),
            # The parts of an emoji that is joined of several are seen, and what joins them.
            ("👩\u200d🚀", r"👩\u200d🚀"),
        ],
    )
    def test_what_was_there_is_seen(self, text: str, shown: str) -> None:
        assert printable(text) == shown

    @given(ANY_TEXT)
    def test_whatever_the_text_one_harmless_line_comes_out(self, text: str) -> None:
        shown = printable(text)
        assert not FORBIDDEN.search(shown)
        assert len(shown.splitlines()) <= 1
        assert shown.encode().decode() == shown
        assert printable(shown) == shown


class TestJson:
    @given(ANY_JSON, st.sampled_from([None, 2]))
    def test_it_is_the_same_data_and_harmless_to_look_at(self, data: Any, indent: int | None) -> None:
        text = escaped_json(json.dumps(data, ensure_ascii=False, indent=indent))
        # Two halves of a character beside each other are one to every reader of JSON.
        assert json.loads(text) == json.loads(json.dumps(data))
        assert not FORBIDDEN.search(text)

    def test_what_people_write_stays_as_it_is(self) -> None:
        text = json.dumps(ORDINARY, ensure_ascii=False)
        assert escaped_json(text) == text

    def test_an_escape_is_that_of_json(self) -> None:
        assert escaped_json('"\u202e\U000e0041\x7f"') == r'"\u202e\udb40\udc41\u007f"'
