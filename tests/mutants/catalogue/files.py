"""Files: every line is accepted, repeated or refused, and no text in quotes is taken for a record."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_CLI: Final = "producers/device_status/cli"
_IMPORT: Final = f"{_CLI}/importing.py"
_RECORDS: Final = f"{_CLI}/files/csv_records.py"
_LINES: Final = f"{_CLI}/files/lines.py"
_TALLY: Final = f"{_CLI}/files/tally.py"
_TESTS: Final = "tests/integration/test_import_files.py"
_QUOTES: Final = f"{_TESTS}::TestStrayQuotes"
_ITS_OWN_LINE: Final = f"{_QUOTES}::test_one_that_opens_a_cell_costs_its_own_line[100]"
_SEVERAL: Final = f"{_TESTS}::TestRecordsOverSeveralLines"
_ENDS: Final = f"{_TESTS}::TestLineEnds"
_COUNT: Final = "tests/unit/test_tally.py::test_one_more_or_less_in_any_count_is_one"

MUTANTS: Final = (
    Mutant(
        "text after a quote is altered",
        _RECORDS,
        "csv.reader(source, delimiter=header.delimiter, strict=True)",
        "csv.reader(source, delimiter=header.delimiter)",
        f"{_QUOTES}::test_text_after_a_quote_costs_its_own_line",
    ),
    Mutant(
        "a stray quote costs the lines after it",
        _RECORDS,
        "source.give_back(others)",
        "",
        _ITS_OWN_LINE,
    ),
    Mutant(
        "a row in a quoted text is sent",
        _RECORDS,
        "elif _hides_records(lines, header):",
        "elif False:",
        f"{_SEVERAL}::test_their_text_is_never_taken_for_a_record",
    ),
    Mutant(
        "a row in a quoted text that is too long is sent",
        _RECORDS,
        "if end is End.CLOSED:",
        "if False:",
        f"{_SEVERAL}::test_not_in_a_text_that_is_too_long_either[65536]",
    ),
    Mutant(
        "a quoted text is sent without the line that is too long",
        _RECORDS,
        "if bad := next((line for line in lines if line.problem), None):",
        "if bad := None:",
        f"{_SEVERAL}::test_with_an_unusable_line_are_refused_line_by_line[too long]",
    ),
    Mutant(
        "lines that carry on a record are not accounted for",
        _RECORDS,
        "tally.continued += len(lines) - 1",
        "pass",
        f"{_SEVERAL}::test_are_sent_as_they_are_and_count_once",
    ),
    Mutant(
        "a CR ends no line",
        _LINES,
        'newline=""',
        'newline="\\n"',
        f"{_ENDS}::test_any_will_do[ended-CR]",
    ),
    Mutant(
        "line ends in a text are altered",
        _LINES,
        'newline=""',
        "newline=None",
        f"{_SEVERAL}::test_are_sent_as_they_are_and_count_once",
    ),
    Mutant(
        "the line behind one that is too long is lost",
        _LINES,
        '"" if ahead == "\\n" else ahead',
        '""',
        f"{_ENDS}::test_of_lines_about_as_long_as_may_be[1-1-CR]",
    ),
    Mutant(
        "a line that is lost goes unnoticed",
        _TALLY,
        "if not self.unaccounted:",
        "if True:",
        f"{_COUNT}[file_lines-1]",
    ),
    Mutant(
        "refused lines are not accounted for",
        _TALLY,
        "return self.lines - self.accepted - self.repeated - self.refused",
        "return self.lines - self.accepted - self.repeated",
        f"{_COUNT}[refused-1]",
    ),
    Mutant(
        "a refused line is not counted",
        _IMPORT,
        "self.tally.refused += 1",
        "pass",
        _ITS_OWN_LINE,
    ),
    Mutant(
        "an import with refused lines is done",
        _IMPORT,
        "if tally.refused:",
        "if False:",
        _ITS_OWN_LINE,
    ),
    Mutant(
        "a repeated line counts as accepted",
        _IMPORT,
        "self.tally.accepted += report.accepted - report.repeated",
        "self.tally.accepted += report.accepted",
        f"{_TESTS}::TestRepeated::test_is_counted_apart_from_accepted",
    ),
    Mutant(
        "a name in quotes is taken for a user",
        f"{_CLI}/files/usernames.py",
        "elif problem := line.problem or _mistake(line):",
        "elif problem := line.problem:",
        "tests/integration/test_incident_files.py::TestUsers::"
        'test_what_comes_of_a_csv_file_is_no_name["ada"]',
    ),
)
