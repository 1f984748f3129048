"""Splits a file into its lines, in constant memory, whatever they hold and however they end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import TextIOWrapper
from typing import BinaryIO, Final, NamedTuple

from device_status.cli.files.errors import UnreadableFileError, UnusableFileError
from device_status.cli.files.tally import Tally

LONGEST: Final = 64 * 1024
"""Characters of a line, without its end, and of all the lines of a record together."""
BLANKS: Final = " \t"
"""What may be trimmed: no other white space, since a text may begin or end with it on purpose."""
_PIECE: Final = LONGEST + len("\r\n")
_NOT_UTF_8: Final = re.compile("[\udc80-\udcff]")
"""What `surrogateescape` makes of such bytes."""
_OTHER_FORMATS: Final = (
    (re.compile("\udcff\udcfe|\udcfe\udcff|\0\0\udcfe\udcff"), "is UTF-16 or UTF-32: save it as UTF-8"),
    (
        re.compile("PK\3\4|\udcd0\udccf\x11\udce0"),
        "is an Excel workbook or an archive: save it as CSV in UTF-8",
    ),
    (
        re.compile("\x1f\udc8b|BZh[1-9]1AY&SY|\udcfd7zXZ|\\(\udcb5/\udcfd"),
        "is compressed: decompress it first",
    ),
)


class Line(NamedTuple):
    """A line as the file has it."""

    number: int
    """From 1."""
    text: str
    """With its end. Of a line that is too long nothing but a quote, if it holds an odd number of them."""
    problem: str = ""
    """Why it can't be used."""

    @property
    def is_blank(self) -> bool:
        """Whether nothing stands in it."""
        return not self.problem and not self.text.strip(BLANKS + "\r\n")


def read_lines(file: BinaryIO, tally: Tally) -> Iterator[Line]:
    """The lines of a file, which end with LF, CR or CRLF; nothing else ends a line.

    Raises:
        UnusableFileError: it is not UTF-8 text as a whole.
        UnreadableFileError: reading failed.
    """
    text = TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
    ahead = ""
    try:
        while piece := ahead or text.readline(_PIECE):
            ahead = ""
            tally.file_lines += 1
            if tally.file_lines == 1:
                _check_format(piece)
            if len(piece) > LONGEST:
                piece, problem, ahead = _long_line(piece, text)
            else:
                problem = _problem(piece)
            yield Line(tally.file_lines, piece, problem)
    except OSError as error:
        raise UnreadableFileError(
            f"the file can't be read past line {tally.file_lines}: {error.strerror or error}"
        ) from error
    finally:
        if not file.closed:
            text.detach()  # It would close the file, which is the caller's.


def next_line(lines: Iterator[Line], tally: Tally) -> Line | None:
    """The next line that is not blank, or None at the end of the file."""
    for line in lines:
        if not line.is_blank:
            return line
        tally.blank += 1
    return None


def _check_format(beginning: str) -> None:
    for signature, problem in _OTHER_FORMATS:
        if signature.match(beginning):
            raise UnusableFileError(f"the file {problem}")


def _problem(text: str) -> str:
    if "\0" in text:
        return "holds a NUL byte"
    if not text.isascii() and _NOT_UTF_8.search(text):
        return "is not UTF-8"
    return ""


def _long_line(piece: str, text: TextIOWrapper) -> tuple[str, str, str]:
    """What stands for a line whose first piece this is, its problem, and what was read past its end."""
    if len(piece.rstrip("\r\n")) <= LONGEST:
        return piece, _problem(piece), ""
    quotes = piece.count('"')
    while len(piece) == _PIECE and not piece.endswith(("\r", "\n")):
        piece = text.readline(_PIECE)
        quotes += piece.count('"')
    # The limit may part a CR from its LF.
    ahead = text.readline(_PIECE) if len(piece) == _PIECE and piece.endswith("\r") else ""
    return '"' * (quotes % 2) + "\n", f"is longer than {LONGEST} characters", "" if ahead == "\n" else ahead
