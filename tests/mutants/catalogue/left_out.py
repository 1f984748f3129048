"""What a message leaves out comes from the message, the same each time that it is delivered."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_INTAKE: Final = "worker/device_status_worker/intake.py"
_RECEIVED: Final = "producers/device_status/lua/received.lua"
_TESTS: Final = "tests/unit/worker/test_intake.py::TestWhatIsLeftOut"
_SAME: Final = f"{_TESTS}::test_delivered_again_it_is_the_same_command"

MUTANTS: Final = (
    Mutant(
        "a message without an id is another command at each delivery",
        _INTAKE,
        'f"message:{_digest(place)}"',
        "str(uuid.uuid4())",
        f"{_SAME}[left_out0]",
    ),
    Mutant(
        "a message without a time is newer at each delivery",
        _INTAKE,
        'if "issued_at" not in given:',
        "if False:",
        f"{_SAME}[left_out1]",
    ),
    Mutant(
        "the time of a receipt is the last, not the first",
        _RECEIVED,
        "'NX', 'PX'",
        "'PX'",
        f"{_SAME}[left_out1]",
    ),
    Mutant(
        "the order of a message's fields gives it another time",
        _INTAKE,
        "json.dumps(fields, sort_keys=True)",
        "json.dumps(fields)",
        f"{_SAME}[left_out1]",
    ),
    Mutant(
        "two messages of one id share a time",
        _INTAKE,
        "_digest(place, json.dumps(fields, sort_keys=True))",
        "_digest(place)",
        f"{_TESTS}::test_two_messages_of_one_id_with_ids_of_their_own_keep_a_time_each",
    ),
    Mutant(
        "a message without a key is another command at each delivery",
        _INTAKE,
        'update["idempotency_key"] = update["command_id"]',
        "pass",
        f"{_TESTS}::test_without_a_key_it_is_its_id",
    ),
    Mutant(
        "the time of a first receipt is forgotten while its message may come again",
        _RECEIVED,
        "2 * ARGV[1]",
        "ARGV[1] / 2",
        f"{_TESTS}::test_the_time_is_that_of_the_first_receipt_on_the_ledgers_clock",
    ),
)
