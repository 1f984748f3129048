"""Text with which somebody writes on another's screen, and the check that none of it arrived."""

from __future__ import annotations

import re
from typing import Final

STEERS: Final = {
    "ESC": "\x1b[2J\x1b[31mred",
    "OSC 52, which fills the clipboard": "\x1b]52;c;cm0gLXJm\x07",
    "OSC 8, a link": "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "a title": "\x1b]0;owned\x07",
    "backspaces": "good\x08\x08\x08\x08evil",
    "carriage return": "failed\rsucceeded",
    "line feed": "one\ndevice-status: all is well",
    "tab": "a\tb",
    "vertical tab, form feed, separators": "\x0b\x0c\x1c\x1d\x1e\x1f",
    "DEL": "\x7f",
    "C1: CSI, OSC, NEL": "\x9b31m\x9d52;c;eA==\x9c\x85",
    "bidi overrides": "\u202a\u202b\u202c\u202d\u202egpj.exe",
    "bidi isolates": "\u2066\u2067\u2068\u2069",
    "bidi marks": "\u200e\u200f\u061c",
    "zero width": "a\u200b\u200c\u200d\u2060\ufeffb",
    "soft hyphen, joiner, invisible operators": "\u00ad\u034f\u2061\u2062\u2063\u2064",
    "letters that show nothing": "\u115f\u1160\u3164\uffa0\u17b4\u17b5",
    "variation selectors": "\ufe00\ufe0f\U000e0100\U000e01ef",
    "tags": "\U000e0001\U000e0041\U000e007f",
    "line and paragraph separator": "\u2028\u2029",
    "interlinear annotation": "\ufff9\ufffa\ufffb",
    "noncharacters, private use": "\ufffe\uffff\ue000\U0010ffff",
}
"""By what it does."""
ORDINARY: Final = (
    "Ada Lovelace <ada@example.com>",
    "zoë e\N{COMBINING ACUTE ACCENT} ñ ß Ω ж",
    "漢字 かな 한글 端末\u3000紛失",
    "עברית العربية हिन्दी ไทย",
    "😀 👍🏽 🇫🇷 ⚠",
    "100\u00a0% – “quoted” … €",
    r"DOMAIN\user [red]not markup[/red] :smile: <b>&amp;",
)
"""What people write, which must stay readable."""
MARKUP: Final = "[red]r[/red][link=http://evil.example]l[/link][bold :smile: [/nothing]"
"""What rich would interpret, or fail on."""
HOSTILE: Final = "".join(STEERS.values()) + MARKUP
"""All of it in one line of text; it can be encoded."""
INVISIBLE_USERNAME: Final = "ada\u3164\ufe0f\u034f\U000e0100\u2800[red]"
"""Amazon Cognito takes it for a username: letters, marks and symbols alone."""

FORBIDDEN: Final = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ue000-\uf8ff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U0010ffff\ud800-\udfff]"
)
"""One character that may not reach a screen. Of C0 the line feed alone may, which ends our own lines."""
COLOUR: Final = re.compile(r"\x1b\[[\d;]*m")
"""What rich writes for a style."""
REDRAW: Final = re.compile(r"\x1b\[(?:\?25[hl]|\d*[AK]|2K|1A)|\r(?!\n)")
"""What rich writes besides to draw a live display anew."""


def steering(output: str, *, at_terminal: bool = False, live: bool = False) -> list[str]:
    """What in the output of a program would steer a screen, beyond what rich writes for its own styles."""
    if at_terminal:
        # The terminal itself adds a carriage return.
        output = re.sub("\r+\n", "\n", COLOUR.sub("", output))
    if live:
        output = REDRAW.sub("", output)
    return FORBIDDEN.findall(output)
