"""The registry: who runs, and what differs."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_REGISTRY: Final = "producers/device_status/registry.py"
_REGISTER: Final = "producers/device_status/lua/register.lua"
_DOCTOR: Final = "producers/device_status/cli/doctor.py"
_REGISTRATION: Final = "worker/device_status_worker/registration.py"
_TESTS: Final = "tests/unit/test_registry.py"
_KILLED: Final = f"{_TESTS}::TestWhoRuns::test_one_that_is_killed_is_gone_after_a_minute"
_STEPS_BACK: Final = f"{_TESTS}::TestWhoRuns::test_a_clock_that_steps_back_keeps_no_dead_worker"
_WORKER: Final = "tests/unit/worker/test_registration.py"

MUTANTS: Final = (
    Mutant("a killed worker is shown without end", _REGISTRY, "now - HOLDS * 1000 < at", "0 < at", _KILLED),
    Mutant(
        "a killed worker's entry stays without end",
        _REGISTER,
        "'-inf', now - holds",
        "'-inf', 0",
        _KILLED,
    ),
    Mutant(
        "the last worker's entry stays without end",
        _REGISTER,
        "redis.call('PEXPIRE', workers, holds)",
        "",
        f"{_TESTS}::TestWhoRuns::test_the_last_one_that_is_killed_leaves_nothing",
    ),
    Mutant(
        "a step back shows killed workers",
        _REGISTRY,
        " <= now + _CLOCK_TOLERANCE_MS",
        "",
        _STEPS_BACK,
    ),
    Mutant(
        "a step back keeps entries of killed workers",
        _REGISTER,
        "redis.call('ZADD', seen, now, ahead)",
        "",
        _STEPS_BACK,
    ),
    Mutant(
        "an entry of another version hides all",
        _REGISTRY,
        "            continue",
        "            raise",
        f"{_TESTS}::TestOtherVersions::test_an_entry_that_can_not_be_read_hides_no_other",
    ),
    Mutant(
        "a field of another version is an error",
        _REGISTRY,
        'extra="ignore"',
        'extra="forbid"',
        f"{_TESTS}::TestOtherVersions::test_an_unknown_field_is_passed_over",
    ),
    Mutant(
        "the registry shows the webhook's URL",
        _REGISTRY,
        '"set" if settings.incident_webhook',
        "settings.incident_webhook if settings.incident_webhook",
        f"{_TESTS}::TestWhatAWorkerSays::test_without_passwords_and_tokens",
    ),
    Mutant(
        "different settings are not looked at",
        _REGISTRY,
        'yield from ((("", variable)',
        'yield from ((("default", variable)',
        f"{_TESTS}::TestDifferences::test_settings_that_must_be_the_same",
    ),
    Mutant(
        "doctor says nothing of what differs",
        _DOCTOR,
        "for difference in differences(workers):",
        "for difference in differences([]):",
        f"{_TESTS}::TestDoctor::test_warns_of_what_differs",
    ),
    Mutant(
        "a difference is logged with each renewal",
        _REGISTRATION,
        "if each.what not in self._warned_of:",
        "if each.what:",
        f"{_WORKER}::TestWarnings::test_other_quotas_are_told_once",
    ),
    Mutant(
        "a difference that comes back is not logged",
        _REGISTRATION,
        "self._warned_of = {",
        "self._warned_of |= {",
        f"{_WORKER}::TestWarnings::test_and_again_when_they_change_or_come_back",
    ),
    Mutant(
        "what stands in the registry ends the registration",
        _REGISTRATION,
        "except Exception as error:",
        "except OSError as error:",
        f"{_WORKER}::TestTheThread::test_data_that_it_does_not_expect_are_told_once_and_it_goes_on",
    ),
    Mutant(
        "a worker that ends leaves its entry behind",
        _REGISTRATION,
        "deregister(self._ledger, self._id)",
        "pass",
        f"{_WORKER}::TestTheThread::test_the_entry_is_there_from_the_start_to_the_end",
    ),
    Mutant(
        "a ledger that hangs delays a worker's end",
        _REGISTRATION,
        "self._thread.join(_LAST_CALL)",
        "self._thread.join()",
        f"{_WORKER}::TestTheThread::test_a_ledger_that_hangs_does_not_delay_the_end",
    ),
)
