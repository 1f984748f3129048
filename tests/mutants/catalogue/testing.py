"""The fakes for the tests of other services: they do what the real classes do, and reach no server."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_TESTING: Final = "producers/device_status/testing"
_COMMANDS: Final = f"{_TESTING}/commands.py"
_STATE: Final = f"{_TESTING}/incident_state.py"
_MEMORY: Final = f"{_TESTING}/incident_memory.py"
_PATCHING: Final = f"{_TESTING}/patching.py"
_PRODUCER_TESTS: Final = "tests/unit/worker/test_testing_producer_contract.py"
_INCIDENT_TESTS: Final = "tests/unit/worker/test_testing_incidents_contract.py"
_PATCHED: Final = "tests/unit/test_testing.py::TestPatched"

MUTANTS: Final = (
    Mutant(
        "the fake accepts other content under the same key",
        _COMMANDS,
        "known.command.fingerprint != command.fingerprint",
        "False",
        f"{_PRODUCER_TESTS}::TestRepeating::test_other_content_is_an_error_and_leaves_no_trace",
    ),
    Mutant(
        "the fake finds no command by the id of its repetition",
        _COMMANDS,
        "            self._aliases.setdefault(command.command_id, entry)\n        return known",
        "            pass\n        return known",
        f"{_PRODUCER_TESTS}::TestRepeating::test_the_same_key_is_the_same_command",
    ),
    Mutant(
        "the fake takes the last of several meanings of an id",
        _COMMANDS,
        "            self._aliases.setdefault(command.command_id, entry)\n        return known",
        "            self._aliases[command.command_id] = entry\n        return known",
        f"{_PRODUCER_TESTS}::TestAnyOrder::test_fake_and_real_agree",
    ),
    Mutant(
        "the fake keeps an error that was overcome",
        _COMMANDS,
        "elif redriven or state in (State.SUCCEEDED, State.SUPERSEDED):",
        "elif redriven:",
        f"{_PRODUCER_TESTS}::TestOutcomes",
    ),
    Mutant(
        "the fake's ledger does not hold what its broker refused",
        _COMMANDS,
        "        self.failures.check_ledger()\n        with self.lock:\n            return [self._enter",
        "        self.failures.check_broker()\n        with self.lock:\n            return [self._enter",
        f"{_PRODUCER_TESTS}::TestServersThatAreAway::test_a_broker_that_is_away",
    ),
    Mutant(
        "a fake incident that is opened again has still ended",
        _STATE,
        "self.ended_at, self.verification = None, {}",
        "pass",
        f"{_INCIDENT_TESTS}::TestCourse::test_more_users_open_it_again",
    ),
    Mutant(
        "a fake incident that is cancelled leaves its commands queued",
        _STATE,
        "self._give(State.CANCELLED, self.open)",
        "pass",
        f"{_INCIDENT_TESTS}::TestSteering::test_cancel",
    ),
    Mutant(
        "a fake incident that is paused goes on",
        _MEMORY,
        ' and known.state == "running":',
        ":",
        f"{_INCIDENT_TESTS}::TestSteering::test_pause_and_resume",
    ),
    Mutant(
        "a producer that was made before reaches its server",
        _PATCHING,
        "return getattr(fake, original.__name__)(*arguments, **options)",
        "return original(self, *arguments, **options)",
        f"{_PATCHED}::test_takes_the_calls_of_what_was_made_before",
    ),
    Mutant(
        "a connection that is open is used while the fakes are in use",
        _PATCHING,
        '(_Following, "connect"),',
        "",
        f"{_PATCHED}::test_not_even_over_a_connection_that_is_open",
    ),
    Mutant(
        "settings lead to a server while the fakes are in use",
        _PATCHING,
        '"DEVICE_STATUS_LEDGER_URL": NOWHERE',
        "",
        f"{_PATCHED}::test_settings_lead_nowhere_and_keep_the_rest",
    ),
)
