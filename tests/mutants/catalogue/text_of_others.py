"""Text of others: nothing in it steers a screen, hides, or passes for a line of the log."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_CLEAN: Final = "producers/device_status/clean.py"
_OUTPUT: Final = "producers/device_status/cli/output.py"
_RECORDS: Final = "worker/device_status_worker/log_records.py"
_PRINTABLE: Final = "tests/unit/test_clean.py::TestPrintable::test_nothing_in_it_steers_a_screen"
_JSON: Final = "tests/unit/test_clean.py::TestJson"
_EXITS: Final = "tests/unit/test_exits.py"
_HOSTILE: Final = "tests/integration/test_hostile_text.py"
_LOG: Final = "tests/unit/worker/test_log_records.py"

MUTANTS: Final = (
    Mutant(
        "text of others steers a terminal",
        _CLEAN,
        'return not (kind.startswith("C") or ',
        'return not (kind in ("Cf", "Cs", "Co", "Cn") or ',
        f"{_PRINTABLE}[ESC]",
    ),
    Mutant(
        "text of others changes the direction of text",
        _CLEAN,
        'return not (kind.startswith("C") or ',
        'return not (kind in ("Cc", "Cs", "Co", "Cn") or ',
        f"{_PRINTABLE}[bidi overrides]",
    ),
    Mutant(
        "text of others ends a line",
        _CLEAN,
        'or kind in ("Zl", "Zp") ',
        "",
        f"{_PRINTABLE}[line and paragraph separator]",
    ),
    Mutant(
        "text of others shows nothing",
        _CLEAN,
        " or _SHOWS_NOTHING.match(character)",
        "",
        f"{_PRINTABLE}[letters that show nothing]",
    ),
    Mutant(
        "JSON that is made harmless is not JSON",
        _CLEAN,
        "json.dumps(found[0])[1:-1]",
        'found[0].encode("unicode_escape").decode()',
        f"{_JSON}::test_an_escape_is_that_of_json",
    ),
    Mutant(
        "JSON is made harmless at the cost of its data",
        _CLEAN,
        "json.dumps(found[0])[1:-1]",
        '"?"',
        f"{_JSON}::test_it_is_the_same_data_and_harmless_to_look_at",
    ),
    Mutant(
        "JSON on standard output steers a terminal",
        _OUTPUT,
        "typer.echo(escaped_json(json.dumps(data, ensure_ascii=False, indent=2)))",
        "typer.echo(json.dumps(data, ensure_ascii=False, indent=2))",
        f"{_HOSTILE}::test_json_steers_no_terminal_either[status]",
    ),
    Mutant(
        "a table in a pipe carries text as others wrote it",
        _OUTPUT,
        'typer.echo("\\t".join(printable(_text(value)) for value in line))',
        'typer.echo("\\t".join(_text(value) for value in line))',
        f"{_EXITS}::test_each_way_out_cleans",
    ),
    Mutant(
        "a form of text that rich shows as it is steers a terminal",
        _OUTPUT,
        'Segment("\\n".join(map(printable, lines)), segment.style)',
        "segment",
        f"{_EXITS}::test_each_way_out_cleans",
    ),
    Mutant(
        "a table at a terminal has no room for the escapes",
        _OUTPUT,
        "return super().render_str(printable(text), ",
        "return super().render_str(text, ",
        f"{_EXITS}::test_a_table_has_room_for_the_escapes_in_it",
    ),
    Mutant(
        "a wrong command line steers a terminal",
        _OUTPUT,
        'error.message = "\\n".join(map(printable, error.message.split("\\n")))',
        "pass",
        f"{_HOSTILE}::test_a_pipe_carries_nothing_that_steers[usage: a value]",
    ),
    Mutant(
        "a record of the log holds two lines",
        _RECORDS,
        "return printable(super().getMessage())",
        "return super().getMessage()",
        f"{_LOG}::test_a_record_is_one_line_and_steers_nothing[arguments1]",
    ),
    Mutant(
        "a line of an error's text passes for a record of the log",
        _RECORDS,
        'f"  {printable(line)}"',
        "printable(line)",
        f"{_LOG}::test_no_line_of_a_traceback_passes_for_a_record",
    ),
    Mutant(
        "a traceback in the log steers a terminal",
        _RECORDS,
        'f"  {printable(line)}"',
        'f"  {line}"',
        f"{_LOG}::test_no_line_of_a_traceback_passes_for_a_record",
    ),
    Mutant(
        "a thread that ends by an error logs a value",
        _RECORDS,
        "type(error).__name__, place(error))",
        "error, place(error))",
        f"{_LOG}::test_a_thread_that_ends_by_an_error_tells_no_value",
    ),
)
