"""A producer that needs no server."""

from __future__ import annotations

from typing import Any, Final, cast

from device_status.command import DeviceStatusCommand
from device_status.ledger import Ledger
from device_status.outcomes import State
from device_status.producer import Producer
from device_status.publisher import Publisher
from device_status.settings import Settings, load_settings
from device_status.testing.commands import CommandsInMemory, Played
from device_status.testing.failures import Failure, Failures
from device_status.testing.matching import Sent, check_names, differences, explain

NOWHERE: Final = "redis://device-status.invalid:6379/0"
"""A host that never exists (RFC 2606): what is not played can't reach a server."""


class FakeProducer(Producer):
    """A `Producer` whose ledger and broker are in memory: a test sees what was enqueued, and plays the rest.

    Everything above ledger and broker is the real producer: its checks, errors and reports.

    Parameters:
        settings: default: from the environment, with a server that does not exist.
        memory: default: a new one; `FakeIncidents` may share it.

    Example:
        >>> producer = FakeProducer()
        >>> forget_devices_of("ada", producer)
        >>> producer.assert_enqueued(username="ada", status="not_remembered")
    """

    def __init__(self, settings: Settings | None = None, *, memory: CommandsInMemory | None = None) -> None:
        self.settings = settings or load_settings(broker_url=NOWHERE, ledger_url=NOWHERE)
        self.memory = memory or CommandsInMemory(Failures())
        # It has the methods that a producer calls; a test compares their signatures.
        self._ledger = cast("Ledger", self.memory)
        self._publisher = cast("Publisher", self.memory)

    @property
    def sent(self) -> list[Sent]:
        """The commands that were enqueued, in order; one that was repeated stands here once."""
        return self.memory.sent

    def assert_enqueued(self, *, count: int | None = None, **fields: Any) -> DeviceStatusCommand:
        """Check that a command with these fields was enqueued.

        Parameters:
            count: how many such commands there must be; default: at least one.
            fields: of the command, and `lane`; times may be text, as in JSON.

        Returns:
            The first such command.

        Raises:
            AssertionError: there is none, or another number of them. The text shows what was enqueued, the
                usernames and device keys of the test included.
        """
        check_names(fields)
        sent = self.sent
        found = [each.command for each in sent if not differences(each, fields)]
        if count == 0:
            raise ValueError("count must be at least 1; assert_not_enqueued is for 0")
        if not found or count not in (None, len(found)):
            raise AssertionError(explain(sent, fields, count))
        return found[0]

    def assert_not_enqueued(self, **fields: Any) -> None:
        """Check that no command with these fields was enqueued; without fields: none at all.

        Raises:
            AssertionError: there is one. The text shows what was enqueued.
        """
        check_names(fields)
        sent = self.sent
        if any(not differences(each, fields) for each in sent):
            raise AssertionError(explain(sent, fields, 0))

    def play(
        self,
        command: DeviceStatusCommand | str,
        state: State | str,
        *,
        error_code: str | None = None,
        error_message: str | None = None,
        attempts: int | None = None,
    ) -> None:
        """Let a worker bring a command to this state, for `lookup` to return.

        Parameters:
            command: or its id.
            error_code: for `dead_lettered` and `retry_wait`, such as UserNotFoundException.
            attempts: made so far; default: one more where a request to AWS leads to this state.

        Raises:
            LookupError: it was not enqueued.
            ValueError: it has an outcome, which is final; or `state` and `error_code` do not go together.
        """
        self.memory.play(command, Played(State(state), error_code, error_message, attempts))

    def play_all(
        self,
        state: State | str,
        *,
        error_code: str | None = None,
        error_message: str | None = None,
        **fields: Any,
    ) -> None:
        """Let a worker bring each command with these fields to this state.

        That is: those without an outcome now, and later ones as soon as they are enqueued. If several such
        plans fit a later one, the last plan counts.

        Raises:
            ValueError: `state` and `error_code` do not go together.
        """
        check_names(fields)
        self.memory.add_rule(
            lambda sent: not differences(sent, fields), Played(State(state), error_code, error_message)
        )

    def fail(self, error: Failure, *, times: int | None = 1, after: int = 0) -> None:
        """Let calls fail, of the incidents that share this memory as well.

        Parameters:
            error: LedgerUnavailableError: nothing is written or read. PublishError: the ledger holds the
                command, the broker did not take its message.
            times: how many calls to the server fail; None: all, until `recover`. `enqueue_many` calls both
                servers once for each thousand commands.
            after: how many calls are served before.
        """
        self.memory.failures.plan(error, times, after)

    def recover(self) -> None:
        """Let calls succeed again."""
        self.memory.failures.clear()

    def clear(self) -> None:
        """Forget everything: commands, plans and failures."""
        self.memory.clear()
        self.recover()
