"""Promises of a running worker about messages that are none: kept, all of them, and nothing stops."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator

import pytest

from device_status import DeadLetter, Lane, State
from device_status.publisher import queue_name
from device_status_worker.intake import MOST_RAW
from support.amqp import publish_raw
from support.messages import BAD_MESSAGES, TWO_FACED_MESSAGES, body_of, envelope, mutations, properties_of
from support.rabbitmq import RabbitMQ
from support.site import Site
from support.waiting import eventually

SEED = 20260504
RANDOM_MESSAGES = 300


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """With one worker on Redis, which takes whatever the tests push."""
    with Site(update_quota="1000") as site:
        site.start_worker().wait_until_ready()
        yield site


@pytest.fixture(autouse=True)
def _with_a_worker(request: pytest.FixtureRequest) -> None:
    if "site" in request.fixturenames:
        request.getfixturevalue("site").restart_dead_workers()


def buried(site: Site, marker: str) -> DeadLetter:
    letter = eventually(lambda: site.letter_with(marker), "the message is a dead letter")
    assert letter is not None
    return letter


def the_next_good_command_is_done(site: Site, lane: Lane) -> None:
    command = site.make_command()
    site.producer.enqueue(command, lane=lane)
    assert site.outcome(command["command_id"]).state is State.SUCCEEDED


@pytest.mark.parametrize("lane", Lane)
def test_every_bad_message_is_kept_and_the_next_good_command_done(lane: Lane, site: Site) -> None:
    (worker,) = site.workers
    before = worker.pid
    markers = {name: f"marker-{uuid.uuid4().hex}" for name in BAD_MESSAGES}
    messages = {name: make(markers[name]) for name, make in BAD_MESSAGES.items()}
    for message in messages.values():
        site.push(message.raw, lane)
    the_next_good_command_is_done(site, lane)

    wrong = {}
    for name, message in messages.items():
        letter = buried(site, markers[name])
        found = (letter.error_code, letter.queue, letter.raw)
        if found != (message.code, queue_name(lane), kept(message.kept)):
            wrong[name] = found
    assert wrong == {}
    assert worker.is_alive
    assert worker.pid == before
    eventually(lambda: site.client.llen(queue_name(lane)) == 0, "the queue is empty")
    eventually(lambda: site.client.hlen("unacked") == 0, "every message is acknowledged")


@pytest.mark.parametrize("name", TWO_FACED_MESSAGES)
def test_a_message_that_may_be_read_in_two_ways_is_either_done_or_kept(name: str, site: Site) -> None:
    (worker,) = site.workers
    before = worker.pid
    marker = f"marker-{uuid.uuid4().hex}"
    site.push(TWO_FACED_MESSAGES[name](marker))
    the_next_good_command_is_done(site, Lane.ROUTINE)

    def known() -> bool:
        record = site.producer.lookup(marker)
        return bool(record and record.outcome) or site.letter_with(marker) is not None

    eventually(known, "it has an outcome or is a dead letter")
    assert worker.is_alive
    assert worker.pid == before


def test_hundreds_of_random_messages_stop_nothing(site: Site) -> None:
    (worker,) = site.workers
    before, kept_before = worker.pid, sum(site.dead_letters.count_by_error().values())
    chance = random.Random(SEED)
    good = envelope(body_of({"command": site.make_command()}))
    lanes = list(Lane)
    bad = list(mutations(good, chance, RANDOM_MESSAGES))
    for raw in bad:
        site.push(raw, chance.choice(lanes))
    for lane in lanes:
        the_next_good_command_is_done(site, lane)

    def all_known() -> bool:
        letters = sum(site.dead_letters.count_by_error().values())
        return letters - kept_before >= len(bad)

    eventually(all_known, f"all are kept (seed {SEED})")
    assert worker.is_alive
    assert worker.pid == before
    eventually(lambda: site.client.hlen("unacked") == 0, "every message is acknowledged")


def test_a_worker_that_met_all_of_them_still_ends_in_order(site: Site) -> None:
    (worker,) = site.workers
    for make in BAD_MESSAGES.values():
        site.push(make("last").raw)
    the_next_good_command_is_done(site, Lane.ROUTINE)
    assert worker.terminate() == 0


class TestRabbitMQ:
    """There, headers and body travel apart, and the broker itself refuses what has no envelope."""

    @pytest.fixture
    def there(self, rabbitmq: RabbitMQ) -> Iterator[Site]:
        with Site(rabbitmq.url, update_quota="1000") as site:
            site.start_worker().wait_until_ready()
            yield site

    def test_every_bad_message_is_kept_and_the_next_good_command_done(self, there: Site) -> None:
        (worker,) = there.workers
        before = worker.pid
        wrong = {}
        for lane in Lane:
            sent = {}
            for name, make in BAD_MESSAGES.items():
                marker = f"marker-{uuid.uuid4().hex}"
                message = make(marker)
                if message.code != "MalformedEnvelope":
                    body, properties = properties_of(message.raw)
                    publish_raw(there.broker_url, lane, body, **properties)
                    sent[marker] = (name, message)
            for marker, (name, message) in sent.items():
                letter = buried(there, marker)
                found = (letter.error_code, letter.queue, letter.raw)
                if found != (message.code, queue_name(lane), kept(message.kept)):
                    wrong[name] = found
            the_next_good_command_is_done(there, lane)
        assert wrong == {}
        assert worker.is_alive
        assert worker.pid == before


def kept(raw: bytes) -> str:
    """As a dead letter holds it."""
    return raw[:MOST_RAW].decode("utf-8", "backslashreplace")
