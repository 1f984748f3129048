"""An incident for all users of a pool: read a page of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from device_status.command import Lane
from device_status_worker.cognito import NotSent, Page
from device_status_worker.failures import Failure
from device_status_worker.gate import Slot
from device_status_worker.handle import Worker
from device_status_worker.listing_headway import ENDLESS
from device_status_worker.listing_requests import DIED_WITH_IT, GivenUp, TryAgain, request_page

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PoolPage:
    """A page of a pool's users, leased to this process."""

    owner: str
    incident_id: str
    token: str
    """Empty for the first page."""
    attempts: int
    age: float
    """Seconds since the first of the attempts."""
    user_pool_id: str
    lane: Lane

    @classmethod
    def read(cls, owner: str, fields: Sequence[Any]) -> Self:
        """From what listing_claim.lua returns after `users`."""
        incident_id, token, attempts, age, pool, lane = fields
        return cls(owner, incident_id, token, int(attempts), int(age) / 1000, pool, Lane(lane))


def list_page(page: PoolPage, ends_at: float, worker: Worker) -> None:
    """Read the page and add its users to the incident; with the last the incident knows all.

    Parameters:
        ends_at: when the lease is over, on the monotonic clock.
    """
    target = worker.settings.target(page.user_pool_id)

    def request(slot: Slot) -> Page | Failure | NotSent:
        return worker.cognito.list_users(target, page.user_pool_id, page.token, ends_at, slot)

    gate = worker.gates.list_users(target)
    match request_page(request, gate, page.lane, ends_at, page, worker.settings):
        case Page(items, token):
            names = [user["Username"] for user in items]
            if _settle(page, worker, "page", token, names=names) == "endless":
                logger.error("incident %s: the pool's users can't be listed: %s", page.incident_id, ENDLESS)
            else:
                logger.info("incident %s: %d more users of the pool", page.incident_id, len(names))
        case TryAgain(due_in, code, is_attempt):
            logger.info("incident %s: the pool is listed again after %s", page.incident_id, code)
            _settle(page, worker, "retry", attempt=is_attempt, due_in=due_in, error_code=code)
        case GivenUp(code) as why if page.token and why is not DIED_WITH_IT:
            # Its token may be too old. From the first page again: a user who is known is not listed twice.
            _settle(page, worker, "restart", error_code=code)
        case GivenUp(code):
            logger.error("incident %s: the pool's users can't be listed: %s", page.incident_id, code)
            _settle(page, worker, "failed", error_code=code)


def _settle(
    page: PoolPage,
    worker: Worker,
    what: str,
    token: str = "",
    *,
    attempt: bool = False,
    due_in: float = 0,
    error_code: str = "",
    names: Sequence[str] = (),
) -> str:
    return str(
        worker.ledger.scripts.run(
            "pool_page",
            [],
            page.incident_id,
            page.owner,
            what,
            token,
            int(attempt),
            int(due_in * 1000),
            error_code,
            *names,
        )
    )
