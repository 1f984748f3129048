"""Every fault that a run may bring about, by where it strikes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from random import Random

from chaos.faults import cognito, processes, rabbitmq, redis, sentinel
from chaos.faults.fault import Fault
from chaos.servers import OneRedis
from chaos.system import System

Track = Mapping[str, Fault]
"""Faults by kind, of which one is there at a time."""


def tracks_of(
    system: System, chance: Random, long_stops: int, shares: Mapping[str, tuple[int, int]]
) -> dict[str, Track]:
    """The faults of each part of the system; those of different tracks come together.

    Parameters:
        long_stops: how many stops of a worker outlast a lease.
        shares: of some tracks, which share of their kinds: (0, 2) is the first half.
    """
    ledger = system.ledger
    tracks: dict[str, Track] = {
        "ledger": redis.faults(ledger) if isinstance(ledger, OneRedis) else sentinel.faults(ledger),
        "Cognito": cognito.faults(system.cognito),
        "workers": processes.faults(system.fleet, chance),
    }
    if long_stops:
        tracks["workers, for long"] = processes.long_stops(system.fleet, chance, long_stops)
    if system.rabbitmq:
        tracks["RabbitMQ"] = rabbitmq.faults(system.rabbitmq)
    if system.other_redis:
        tracks["broker"] = redis.faults_of_a_broker_without_disk(system.other_redis)
    for name, (number, count) in shares.items():
        tracks[name] = dict(islice(tracks[name].items(), number, None, count))
    if isinstance(ledger, OneRedis):
        tracks["ledger"] = {**tracks["ledger"], **redis.steps_of_the_clock(ledger, chance)}
    return tracks
