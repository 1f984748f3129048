"""Producers: what was accepted is in the ledger and published, once, and says nothing it must not."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_PRODUCER: Final = "producers/device_status/producer.py"
_PUBLISHER: Final = "producers/device_status/publisher.py"
_SHARED: Final = "producers/device_status/lua/prelude.lua"
_TESTS: Final = "tests/integration/test_producer.py"
_REPEATING: Final = f"{_TESTS}::TestRepeating"
_CONFLICTS: Final = f"{_TESTS}::TestConflicts"
_MANY: Final = f"{_TESTS}::TestManyCommands"

MUTANTS: Final = (
    Mutant(
        "a command is published before it is in the ledger",
        _PRODUCER,
        "results = ledger.enter(commands, lane, bury_refused=bury_refused)",
        "publisher.publish([*map(as_json, commands)], lane); results = ledger.enter(commands, lane)",
        f"{_TESTS}::TestOneCommand::test_the_entry_is_there_before_the_message",
    ),
    Mutant(
        "a command that waits is not published again",
        _PRODUCER,
        "if result is None or result is State.QUEUED",
        "if result is None",
        f"{_REPEATING}::test_a_queued_command_is_published_again_since_its_message_may_be_lost",
    ),
    Mutant(
        "a command that is done is published again",
        _PRODUCER,
        "if result is None or result is State.QUEUED",
        "",
        f"{_REPEATING}::test_a_settled_command_is_not",
    ),
    Mutant(
        "a conflict counts as accepted",
        _PRODUCER,
        "if isinstance(result, Conflict | Reserved):",
        "if False:",
        f"{_MANY}::test_conflicts_are_refused",
    ),
    Mutant(
        "a conflict is no error",
        _PRODUCER,
        "case Conflict(command_id, state, issued_at) if state:",
        "case Conflict(command_id, state, issued_at) if not state:",
        f"{_CONFLICTS}::test_a_key_of_another_command_is_an_error_that_says_what_has_it",
    ),
    Mutant(
        "a conflict that was reported is a dead letter as well",
        "producers/device_status/lua/enter.lua",
        "if refused and not buries then",
        "if refused and not buries and "
        "refuse(key, command_id, fingerprint, command, lane, now, retention) then",
        f"{_CONFLICTS}::test_what_was_reported_is_no_dead_letter",
    ),
    Mutant(
        "a conflict in a message of another producer is no dead letter",
        _PRODUCER,
        "    bury_refused: bool = True,",
        "    bury_refused: bool = False,",
        "tests/unit/worker/test_receive.py::TestGivingBack::test_what_is_refused_on_the_way_back_is_a_dead_letter",
    ),
    Mutant(
        "an error does not say which commands are in doubt",
        _PRODUCER,
        "[command.command_id for command in commands],",
        "[],",
        f"{_TESTS}::TestTheBrokerIsAway::test_the_error_names_the_command",
    ),
    Mutant(
        "a message of any length is published",
        _PUBLISHER,
        " or size + length > MOST_BYTES_A_MESSAGE",
        "",
        f"{_MANY}::test_large_commands_are_split_by_bytes",
    ),
    Mutant(
        "headers hold personal data",
        _PUBLISHER,
        '"kwargsrepr": "{}"',
        '"kwargsrepr": keyword_arguments',
        f"{_TESTS}::TestOneCommand::test_personal_data_is_in_the_body_alone",
    ),
    Mutant(
        "an error shows the broker's password",
        _PUBLISHER,
        "{without_password(self._broker_url)}",
        "{self._broker_url}",
        f"{_TESTS}::TestTheBrokerIsAway::test_no_password_is_shown",
    ),
    Mutant(
        "what is queued again keeps its old place",
        _SHARED,
        "queue_again(entry, key, known[2], now)",
        "",
        "tests/unit/test_watermark.py::TestABacklogIsNotTouched::"
        "test_a_producer_that_repeats_a_command_puts_it_behind_the_mark",
    ),
)
