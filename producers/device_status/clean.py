"""Makes text that others wrote harmless to look at: nothing in it steers a terminal, reorders or hides.

Whatever was not written by this package goes through here on its way to a screen, a log or a report.
"""

from __future__ import annotations

import json
import re
from typing import Final
from unicodedata import category

_NOT_ASCII: Final = re.compile(r"[^ -~]")
_NOT_ASCII_IN_JSON: Final = re.compile(r"[^\n -~]")
"""JSON escapes C0 itself; a line feed in it is only ever between values."""
_SHOWS_NOTHING: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Letters, marks and symbols without a glyph, in which two names could differ unseen: what Unicode's
property Default_Ignorable_Code_Point has beyond the categories below, and the empty Braille pattern."""


def printable(text: str) -> str:
    r"""One line of text in which every character can be seen.

    A character that steers a terminal, changes the direction of text, ends a line or shows nothing becomes
    its escape: `\x1b`, `\n`, `\u202e`. So do the joiners inside some emoji (their parts stay), and a lone
    surrogate, so that the result can always be encoded. Doing it twice changes nothing more.
    """
    return _NOT_ASCII.sub(lambda found: _shown(found[0]), text)


def escaped_json(text: str) -> str:
    r"""JSON text with those characters as the escapes of JSON: the same data, harmless to look at."""
    return _NOT_ASCII_IN_JSON.sub(
        lambda found: found[0] if _is_visible(found[0]) else json.dumps(found[0])[1:-1], text
    )


def _shown(character: str) -> str:
    return character if _is_visible(character) else character.encode("unicode_escape").decode()


def _is_visible(character: str) -> bool:
    kind = category(character)
    # Control, format, surrogate, private use, unassigned; separators of lines and paragraphs.
    return not (kind.startswith("C") or kind in ("Zl", "Zp") or _SHOWS_NOTHING.match(character))
