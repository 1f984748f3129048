"""The table of failures, how an error is read, what becomes of the command, and when it is given up."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_TABLE: Final = "worker/device_status_worker/failures.py"
_CALL: Final = "worker/device_status_worker/cognito.py"
_HANDLE: Final = "worker/device_status_worker/handle.py"
_RETRIES: Final = "worker/device_status_worker/retries.py"
_FATES: Final = "tests/unit/worker/test_failures_promises.py::TestEveryAnswerOfAws"
_BY_CODE: Final = f"{_FATES}::test_a_command_ends_as_its_error_code_demands"
_CALLS: Final = "tests/unit/worker/test_failures.py"
_ANSWERED: Final = "tests/unit/worker/test_answers.py"
_WAY: Final = "tests/unit/worker/test_handle.py"
_DELAYS: Final = "tests/unit/worker/test_retries.py::TestWhenItIsTriedAgain"


def _row(code: str, wrong: str, name: str) -> Mutant:
    wrong_row = f'    for code in codes\n}} | {{"{code}": Action.{wrong}}}'
    return Mutant(name, _TABLE, "    for code in codes\n}", wrong_row, f"{_BY_CODE}[{code}]")


MUTANTS: Final = (
    _row("UserNotFoundException", "RETRY", "a user who does not exist is tried again and again"),
    _row("NotAuthorizedException", "PAUSE", "one forbidden command pauses everybody's"),
    _row("AccessDeniedException", "DEAD_LETTER", "a missing permission dead-letters commands"),
    _row("ExpiredTokenException", "RETRY", "expired credentials use up attempts"),
    _row("TooManyRequestsException", "RETRY", "a throttle is an attempt"),
    _row("ThrottlingException", "DEAD_LETTER", "a throttle is a dead letter"),
    _row("InternalErrorException", "DEAD_LETTER", "a failure of the service is a dead letter"),
    Mutant(
        "a Region that does not exist pauses its target",
        _TABLE,
        "if isinstance(error, _THE_COMMANDS_FAULT):",
        "if False:",
        f"{_CALLS}::test_a_region_that_can_be_none_is_the_commands_fault_and_nothing_leaves",
    ),
    Mutant(
        "a request leaves after its slot",
        _CALL,
        "if time.monotonic() > self._send_before.time:",
        "if False:",
        f"{_CALLS}::test_nothing_is_sent_once_the_slot_is_void",
    ),
    Mutant(
        "a request leaves that may outlast its claim",
        _CALL,
        "min(ends_at - CALL_TIMEOUT, slot.send_before)",
        "slot.send_before",
        f"{_CALLS}::test_nothing_is_sent_whose_answer_could_come_after_the_claim",
    ),
    Mutant(
        "every device is remembered",
        _CALL,
        "DeviceRememberedStatus=command.status.value",
        'DeviceRememberedStatus="remembered"',
        "tests/integration/test_worker.py::test_a_command_changes_its_device_with_one_call[redis-urgent]",
    ),
    Mutant(
        "the gate does not hear of a throttle",
        _HANDLE,
        "gate.throttled()",
        "pass",
        f"{_BY_CODE}[TooManyRequestsException]",
    ),
    Mutant(
        "the gate does not hear of a fault",
        _HANDLE,
        "gate.fault()",
        "pass",
        f"{_BY_CODE}[ServiceUnavailable]",
        after="case Action.RETRY:",
    ),
    Mutant(
        "the gate does not hear that AWS is out of reach",
        _HANDLE,
        "gate.fault()",
        "pass",
        f"{_ANSWERED}::TestStrangers::test_they_slow_their_target_down",
        after="case Action.BACK_OFF:",
    ),
    Mutant(
        "the gate does not hear that every request is refused",
        _HANDLE,
        "gate.pause(code)",
        "pass",
        f"{_WAY}::TestFaultsOfOurs",
    ),
    Mutant(
        "a command that fails is never given up",
        _HANDLE,
        "case Action.RETRY if is_last_attempt(claim, worker.settings):",
        "case Action.RETRY if False:",
        f"{_WAY}::TestFaultsOfTheService::test_they_are_retried_up_to_the_most_attempts",
    ),
    Mutant(
        "a command that kills its workers is never given up",
        _HANDLE,
        "if claim.attempts >= worker.settings.max_attempts:",
        "if False:",
        f"{_WAY}::TestClaimsThatEnd::test_a_command_that_kills_its_workers_is_given_up",
    ),
    Mutant(
        "a slot that was missed is lost to all",
        _HANDLE,
        "gate.give_back(slot)",
        "pass",
        f"{_WAY}::TestClaimsThatEnd::test_a_host_that_is_late_for_every_slot_sends_nothing",
    ),
    Mutant(
        "a request that was overtaken is not repaired",
        _HANDLE,
        "if isinstance(settled, Lost) and (repair",
        "if False and (repair",
        f"{_WAY}::TestClaimsThatEnd::test_a_request_that_is_late_is_repaired",
    ),
    Mutant(
        "one attempt too many",
        _RETRIES,
        "tried.attempts + 1 >= settings.max_attempts",
        "tried.attempts >= settings.max_attempts",
        f"{_DELAYS}::test_the_twelfth_attempt_is_the_last",
    ),
    Mutant(
        "a command is tried for weeks",
        _RETRIES,
        "tried.age >= settings.max_age.total_seconds()",
        "False",
        f"{_DELAYS}::test_the_first_attempt_after_a_day_is_the_last",
    ),
    Mutant(
        "what failed together comes back together",
        _RETRIES,
        "random.uniform(0, min(CAP",
        "max(0, min(CAP",
        f"{_DELAYS}::test_the_delay_is_random_and_grows_up_to_a_minute",
    ),
    Mutant(
        "delays grow without end",
        _RETRIES,
        "min(CAP, BASE * 2**tried.attempts)",
        "BASE * 2**tried.attempts",
        f"{_DELAYS}::test_the_delay_is_random_and_grows_up_to_a_minute",
    ),
)
