"""What an accepted command survives: who waits for the disk or the replicas, and what counts as confirmed."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_WHAT: Final = "producers/device_status/durability.py"
_SCRIPTS: Final = "producers/device_status/scripts.py"
_HEALTH: Final = "producers/device_status/health.py"
_TESTS: Final = "tests/integration/test_durability.py"
_DONE: Final = f"{_TESTS}::TestWhateverSaysDone"
_FAILOVER: Final = f"{_TESTS}::test_what_a_replica_confirmed_survives_a_failover_and_the_rest_may_be_repeated"

MUTANTS: Final = (
    Mutant("a producer does not wait", _WHAT, '*("enter", ', "*(", _FAILOVER),
    Mutant(
        "AWS is called under a claim that may be lost",
        _WHAT,
        '"claim",',
        "",
        f"{_TESTS}::TestAWorker::test_it_calls_aws_only_under_a_claim_that_a_replica_has",
    ),
    Mutant(
        "a message is acknowledged whose settlement may be lost",
        _WHAT,
        '*("settle", "late", "bury")',
        '*("late", "bury")',
        f"{_TESTS}::TestAWorker::test_it_acknowledges_only_what_a_replica_knows_to_be_settled",
    ),
    Mutant(
        "a repeat that changes nothing is not waited for",
        _SCRIPTS,
        'if name in self._waited_for else ""',
        'if not name else ""',
        f"{_DONE}::test_it_is_not_said_before_a_replica_has_it_and_neither_at_the_repeat"
        "[enqueue what has its outcome]",
    ),
    Mutant(
        "what is not confirmed in time counts",
        _SCRIPTS,
        "if not self._durability.is_confirmed_by(confirmation):",
        "if confirmation is None:",
        _FAILOVER,
    ),
    Mutant(
        "fewer replicas than were asked for are enough",
        _WHAT,
        "replicas >= self.replicas",
        "replicas >= 1",
        "tests/unit/test_durability.py::test_fewer_than_were_asked_for_confirm_nothing[replica:2-1-False]",
    ),
    Mutant(
        "the wait stands in a transaction, where it does not wait",
        _SCRIPTS,
        "self._client.pipeline(transaction=False)",
        "self._client.pipeline(transaction=True)",
        f"{_DONE}::test_it_is_not_said_before_a_replica_has_it_and_neither_at_the_repeat"
        "[enqueue what is new]",
    ),
    Mutant(
        "in memory it costs a call more",
        _SCRIPTS,
        "WAITED_FOR if durability.command else frozenset()",
        "WAITED_FOR",
        f"{_TESTS}::TestCost::test_in_memory_no_wait_is_sent_and_otherwise_one_a_batch",
    ),
    Mutant(
        "everysec passes for synced",
        _HEALTH,
        'if policy == "always":',
        'if policy != "no":',
        f"{_TESTS}::TestAServerThatCanNotSync::test_doctor_says_what_to_change[appendfsync is everysec]",
    ),
    Mutant(
        "doctor does not look for replicas",
        "producers/device_status/cli/doctor.py",
        "    yield from _durability(client, settings)\n",
        "",
        f"{_TESTS}::TestDoctor::test_it_misses_a_replica",
    ),
    Mutant(
        "a worker goes on with a setting that can't work",
        "worker/device_status_worker/ledger_check.py",
        "state.should_stop = WRONG_SETTINGS",
        "pass",
        f"{_TESTS}::TestAServerThatCanNotSync::test_a_worker_ends_at_its_start_and_says_what_to_change"
        "[the append-only file is off]",
    ),
    Mutant(
        "the command worker hides the exit code",
        "producers/device_status/cli/worker.py",
        "raise typer.Exit(code or Exit.OK)",
        "raise typer.Exit(Exit.OK)",
        f"{_TESTS}::test_the_command_worker_ends_with_the_same_exit_code",
    ),
)
