"""Gets everything in, by repeating what met a fault, as `PublishError` tells its callers to."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from chaos.system import System
from chaos.workload import Malformed, Message, Workload
from device_status import LedgerUnavailableError, Producer, PublishError
from device_status.command import DeviceStatusCommand, Lane
from device_status.publisher import queue_name
from device_status.scripts import connect
from support.amqp import publish_raw
from support.messages import properties_of

BATCHES = (1, 10, 100, 500)
"""Commands that a producer hands over at once."""
_AGAIN = 0.1


@dataclass
class Published:
    """When all of it got in.

    Attributes:
        accepted_at: by command id, of our own producers' commands.
        pushed_at: of the messages that lie in the broker alone.
        pushes: how often each of them may have got in.
        slowest_call: seconds of the longest call of a producer, failed or not.
        refusals: calls that met a fault and were repeated.
        wrong: what no producer may raise.
    """

    accepted_at: dict[str, float] = field(default_factory=dict)
    pushed_at: dict[Message, float] = field(default_factory=dict)
    pushes: Counter[Message] = field(default_factory=Counter)
    slowest_call: float = 0.0
    refusals: int = 0
    wrong: list[str] = field(default_factory=list)


class Publishing:
    """In threads: one for our own producer, one for producers without our package.

    Parameters:
        seconds: over which it is spread, so that the last faults meet work as well.
    """

    def __init__(self, system: System, load: Workload, seed: int, seconds: float) -> None:
        self.published = Published()
        self._system = system
        self._load = load
        self._chance = Random(seed)
        self._seconds = seconds
        self._began_at = time.monotonic()
        self._threads = [
            threading.Thread(target=self._run, args=(publish,), daemon=True)
            for publish in (self._publish_own, self._push_all)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    @property
    def is_over(self) -> bool:
        """Whether all got in."""
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, publish: Callable[[], None]) -> None:
        try:
            publish()
        except Exception as error:
            self.published.wrong.append(f"a producer raised {error!r}")

    def _publish_own(self) -> None:
        producer = Producer(self._system.settings)
        for progress, some in self._batches():
            self._keep_pace(progress)
            for lane in Lane:
                self._until_accepted(producer, [each for each in some if _lane(each) is lane], lane)

    def _batches(self) -> Iterator[tuple[float, list[DeviceStatusCommand]]]:
        all_of_it, start = self._load.publications, 0
        while start < len(all_of_it):
            size = min(self._chance.choice(BATCHES), max(1, len(all_of_it) // 50))
            yield start / len(all_of_it), all_of_it[start : start + size]
            start += size

    def _until_accepted(self, producer: Producer, commands: list[DeviceStatusCommand], lane: Lane) -> None:
        while commands:
            began_at = time.monotonic()
            try:
                report = producer.enqueue_many(commands, lane=lane)
            except (PublishError, LedgerUnavailableError):
                self.published.refusals += 1
                time.sleep(_AGAIN)
                continue
            finally:
                self.published.slowest_call = max(self.published.slowest_call, time.monotonic() - began_at)
            assert not report.refused
            for each in commands:
                self.published.accepted_at.setdefault(each.command_id, time.monotonic())
            return

    def _push_all(self) -> None:
        for number, message in enumerate(self._load.messages):
            self._keep_pace(number / len(self._load.messages))
            while True:
                self.published.pushes[message] += 1
                try:
                    _push(self._system, message)
                    break
                except Exception:
                    # Whatever the client says of a broker that is killed; a message too many is harmless.
                    time.sleep(_AGAIN)
            self.published.pushed_at[message] = time.monotonic()

    def _keep_pace(self, progress: float) -> None:
        time.sleep(max(0.0, self._began_at + progress * self._seconds - time.monotonic()))


def _lane(command: DeviceStatusCommand) -> Lane:
    number = int(command.command_id.rpartition("-")[2])
    # Not by the last digit alone, which says whose device it is.
    return Lane.URGENT if number // 10 % 10 == 0 else Lane.ROUTINE if number // 10 % 10 < 3 else Lane.BULK


def _push(system: System, message: Message) -> None:
    if not system.rabbitmq:
        with connect(system.settings.broker_url) as client:
            client.lpush(queue_name(message.lane), message.raw)
    elif isinstance(message, Malformed) and message.message.code == "MalformedEnvelope":
        # RabbitMQ has an envelope of its own: what is none on Redis is a body there.
        publish_raw(system.rabbitmq.url, message.lane, message.raw, content_type="application/json")
    else:
        body, properties = properties_of(message.raw)
        publish_raw(system.rabbitmq.url, message.lane, body, **properties)
