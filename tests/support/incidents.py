"""Incidents without processes: listings and commands are worked through here, step by step."""

from __future__ import annotations

import json
from collections import Counter
from threading import Event
from typing import Any

from device_status import Incidents, Lane, Progress, parse_command
from device_status.incident import incident_key
from device_status.ledger import Ledger, own_ms
from device_status_worker.forgetting import forget
from device_status_worker.handle import Worker, handle
from device_status_worker.listing import Lister
from device_status_worker.local import LocalCognito
from support.broker import take_commands


class Crew:
    """Does what worker processes would do, when it is told to."""

    def __init__(self, worker: Worker, url: str) -> None:
        self.worker = worker
        self._url = url
        self._lister = Lister(worker, Event())

    def list(self, most: int | None = None) -> int:
        """Work through listings, at most so many; says how many there were."""
        done = 0
        while (most is None or done < most) and self._lister.work():
            done += 1
        return done

    def apply(self, most: int | None = None, lane: Lane = Lane.BULK) -> int:
        """Work through the commands that wait in a lane; says how many there were."""
        waiting = take_commands(self._url, lane)
        for fields in waiting[:most]:
            handle(parse_command(fields), lane, self.worker)
        return len(waiting)

    def finish(self, lane: Lane = Lane.BULK) -> None:
        """All of both, and what the ledger says is due, until nothing is left."""
        while self.list() + self.sweep(lane) + self.apply(lane=lane):
            pass

    def forget(self) -> None:
        """What a round of the sweeper does about what is past its time."""
        forget(self.worker.ledger)

    def sweep(self, lane: Lane = Lane.BULK) -> int:
        """Publish again what is due."""
        commands = self.worker.ledger.scripts.run("sweep", [], lane, 500, 0, own_ms())
        if commands:
            self.worker.publisher.publish(commands, lane)
        return len(commands)


def recount(ledger: Ledger, incident_id: str) -> dict[str, int]:
    """The counters of an incident, counted anew from what the ledger holds of each command and user."""
    redis = ledger.redis
    life = redis.hget(incident_key(incident_id), "life")
    commands: list[dict[str, str]] = [
        redis.hgetall(key)
        for key in redis.scan_iter("device-status:command:*")
        if redis.hmget(key, "incident", "life") == [incident_id, life]
    ]
    members = [command for command in commands if "repair" not in command]
    states = Counter(command["state"] for command in members)
    is_open = sum(command["state"] in ("queued", "claimed", "retry_wait") for command in commands)
    users = Counter(
        f"users_{json.loads(outcome)['outcome']}"
        for outcome in redis.hgetall(incident_key(incident_id, "outcomes")).values()
    )
    waiting = redis.zcard(incident_key(incident_id, "users"))
    outcomes = ("succeeded", "superseded", "expired", "dead_lettered", "cancelled")
    return {
        "users": sum(users.values()) + waiting,
        "users_open": waiting,
        **{f"users_{name}": users[f"users_{name}"] for name in USER_OUTCOMES},
        "devices": len(members),
        "open": is_open,
        **{name: states[name] for name in outcomes},
    }


USER_OUTCOMES = ("expanded", "no_devices", "dead_lettered", "cancelled")


def counters(progress: Progress) -> dict[str, int]:
    """The same as the incident says them."""
    names = (
        "users",
        "users_open",
        *(f"users_{name}" for name in USER_OUTCOMES),
        *("devices", "open", "succeeded", "superseded", "expired", "dead_lettered", "cancelled"),
    )
    return {name: getattr(progress, name) for name in names}


def make_users(cognito: LocalCognito, devices: dict[str, int], pool: str | None = None) -> str:
    """A pool whose users have so many devices, all remembered."""
    pool = pool or cognito.create_pool()
    for username, count in devices.items():
        cognito.add_user(pool, username)
        for _ in range(count):
            cognito.add_device(pool, username)
    return pool


def statuses(cognito: LocalCognito, pool: str) -> Counter[str]:
    """How many devices of a pool have which status."""
    return Counter(status for _, _, status in cognito.devices(pool))


def open_incident(incidents: Incidents, pool: str, *users: str, **options: Any) -> Progress:
    """`INC-1`, for these users."""
    return incidents.open("INC-1", user_pool_id=pool, users=users, **options)
