"""One user of an incident: list their devices, and make a command of each, count them, or compare them."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from device_status.command import DeviceStatusCommand, Lane, Status
from device_status.errors import InvalidCommandError
from device_status.incident import command_id, make_command
from device_status.ledger import from_ms
from device_status.producer import Life, enter_and_publish
from device_status.publisher import BrokerUnavailableError
from device_status.targets import Target
from device_status_worker.cognito import NotSent, Page
from device_status_worker.failures import Failure
from device_status_worker.gate import Slot
from device_status_worker.handle import Worker
from device_status_worker.listing_headway import ENDLESS, Headway
from device_status_worker.listing_requests import LEASE, GivenUp, TryAgain, request_page
from device_status_worker.retries import soon

logger = logging.getLogger(__name__)

_USER_IS_MISSING: Final = re.compile(r"\buser does not exist", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Listing:
    """One user of an incident, leased to this process."""

    owner: str
    is_verification: bool
    incident_id: str
    username: str = field(repr=False)
    attempts: int
    age: float
    """Seconds since the first of the attempts."""
    user_pool_id: str
    status: Status
    lane: Lane
    opened_at: int
    """Milliseconds since 1970: the incident's commands are issued then."""
    counts_only: bool
    run: str
    """Of the verification."""
    only_given: bool
    """Whether the incident is about given devices, not about all of its users'."""
    life: str
    """Of the incident."""

    @classmethod
    def read(cls, owner: str, fields: Sequence[Any]) -> Self:
        """From what listing_claim.lua returns after `devices`."""
        mode, incident_id, username, attempts, age, pool, status, lane, *more = fields
        opened_at, only, run, given, life = more
        return cls(
            owner=owner,
            is_verification=mode == "verify",
            incident_id=incident_id,
            username=username,
            attempts=int(attempts),
            age=int(age) / 1000,
            user_pool_id=pool,
            status=Status(status),
            lane=Lane(lane),
            opened_at=int(opened_at),
            counts_only=only == "1",
            run=run,
            only_given=given == "1",
            life=life,
        )


def list_devices(listing: Listing, ends_at: float, worker: Worker) -> None:
    """Bring one user as far as it comes now; what is left is leased again by somebody.

    Parameters:
        ends_at: when the lease is over, on the monotonic clock.
    """
    target = worker.settings.target(listing.user_pool_id)
    gate = worker.gates.read(target)
    token, headway = "", Headway()
    while True:
        request = _request(listing, target, token, ends_at, worker)
        match request_page(request, gate, listing.lane, ends_at, listing, worker.settings):
            case Page() as page:
                pass
            case GivenUp() as given_up:
                _give_up(listing, given_up, headway, worker)
                return
            case TryAgain(due_in, code, is_attempt):
                logger.info("incident %s: a user is listed again after %s", listing.incident_id, code)
                _settle(listing, worker, "retry", due_in=due_in, attempt=is_attempt, error=(code, ""))
                return
        try:
            _take(listing, page, worker)
        except BrokerUnavailableError as error:
            logger.error("incident %s: %s", listing.incident_id, error)  # noqa: TRY400
            _settle(listing, worker, "retry", due_in=soon())
            return
        if why := headway.stops_at(page):
            _give_up(listing, GivenUp(ENDLESS, why, page.request_id), headway, worker)
            return
        found, token = len(headway.devices), page.token
        if not token:
            outcome = "verified" if listing.is_verification else "expanded" if found else "no_devices"
            _settle(listing, worker, outcome, devices=found, request_id=page.request_id)
            logger.info("incident %s: a user is %s, %d devices", listing.incident_id, outcome, found)
            return
        ends_at = time.monotonic() + LEASE
        match _settle(listing, worker, "renew"):
            case "lost":
                return
            case "paused" | "cancelled" if not listing.is_verification:
                # Handed back: it is listed again when the incident is resumed, or ends as cancelled.
                _settle(listing, worker, "retry")
                return


def remembered_status(device: Any) -> str:
    """A listed device's status; empty where the answer names none.

    AWS gives it among the device's attributes, as `dev:device_remembered_status`. (AWS Amplify documents the
    attribute; the API reference names none.)
    """
    for attribute in device.get("DeviceAttributes", []):
        if str(attribute.get("Name", "")).endswith("remembered_status"):
            return str(attribute.get("Value", ""))
    return ""


def _request(listing: Listing, target: Target, token: str, ends_at: float, worker: Worker) -> Any:
    def request(slot: Slot) -> Page | Failure | NotSent:
        return worker.cognito.list_devices(
            target, listing.user_pool_id, listing.username, token, ends_at, slot
        )

    return request


def _take(listing: Listing, page: Page, worker: Worker) -> None:
    if listing.is_verification:
        _compare(listing, page, worker)
    elif not listing.counts_only:
        commands = [command for device in page.items if (command := _command(listing, device))]
        life = Life(listing.incident_id, listing.life)
        enter_and_publish(worker.ledger, worker.publisher, commands, listing.lane, life)


def _compare(listing: Listing, page: Page, worker: Worker) -> None:
    arguments: list[str] = []
    for device in page.items:
        key = device["DeviceKey"]
        name = command_id(listing.incident_id, listing.user_pool_id, listing.username, key)
        arguments += [name, key, remembered_status(device)]
    worker.ledger.scripts.run(
        "verify_page",
        [],
        listing.incident_id,
        listing.run,
        listing.username,
        listing.status,
        int(listing.only_given),
        *arguments,
    )


def _is_gone(why: GivenUp) -> bool:
    """Whether AWS says that the user is missing; that the pool is says nothing of its users' devices.

    AdminListDevices models no UserNotFoundException, so its ResourceNotFoundException may be of either.
    """
    return why.code == "UserNotFoundException" or (
        why.code == "ResourceNotFoundException" and bool(_USER_IS_MISSING.search(why.message))
    )


def _give_up(listing: Listing, why: GivenUp, headway: Headway, worker: Worker) -> None:
    if listing.is_verification and _is_gone(why):
        # Gone, and all devices with him; unless he was never listed (a misspelt name, a wrong pool).
        _settle(listing, worker, "gone", error=(why.code, why.message), request_id=why.request_id)
        return
    logger.warning("incident %s: a user can't be listed: %s", listing.incident_id, why.code)
    outcome = "failed" if listing.is_verification else "dead_lettered"
    _settle(
        listing,
        worker,
        outcome,
        devices=len(headway.devices),
        attempt=True,
        error=(why.code, why.message),
        request_id=why.request_id,
    )


def _settle(
    listing: Listing,
    worker: Worker,
    what: str,
    *,
    devices: int = 0,
    attempt: bool = False,
    due_in: float = 0,
    error: tuple[str, str] = ("", ""),
    request_id: str = "",
) -> str:
    return str(
        worker.ledger.scripts.run(
            "listing_settle",
            [],
            "verify" if listing.is_verification else "users",
            listing.incident_id,
            listing.username,
            listing.owner,
            what,
            devices,
            int(attempt),
            int(due_in * 1000),
            *error,
            request_id,
            int(LEASE * 1000),
        )
    )


def _command(listing: Listing, device: Any) -> DeviceStatusCommand | None:
    try:
        return make_command(
            listing.incident_id,
            listing.user_pool_id,
            listing.username,
            device["DeviceKey"],
            status=listing.status,
            issued_at=from_ms(listing.opened_at),
        )
    except InvalidCommandError as error:
        text = "incident %s: Cognito lists a device that breaks the contract: %s"
        logger.error(text, listing.incident_id, error)  # noqa: TRY400
        return None
