"""What an incident may be named, and whom it may be about."""

from __future__ import annotations

import re
from typing import Final

from device_status.clean import printable
from device_status.command import Status
from device_status.errors import IncidentError, InvalidCommandError
from device_status.incident import make_command
from device_status.ledger import from_ms

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
"""prelude_incident.lua holds the names in commands to the same."""
_PLAN_ID: Final = re.compile(r"plan:[0-9a-f]+", re.ASCII)


def check_id(incident_id: str) -> None:
    """Raises InvalidCommandError where no incident can be named so."""
    if not _ID.fullmatch(incident_id):
        raise InvalidCommandError(
            "incident id: the rule is 1 to 64 letters, digits, `.`, `_` and `-`, a letter or digit first"
        )


def may_be_id(name: str) -> bool:
    """Whether it names an incident or a plan, and not a part of one."""
    return bool(_ID.fullmatch(name) or _PLAN_ID.fullmatch(name))


def check_user(user_pool_id: str, username: str) -> None:
    """Raises InvalidCommandError where the contract has no such username."""
    _check(user_pool_id, username, Status.NOT_REMEMBERED)


def check_pool(user_pool_id: str, status: Status) -> None:
    """Raises InvalidCommandError where the contract has no such pool."""
    _check(user_pool_id, "x", status)


def unknown(incident_id: str) -> IncidentError:
    """The error of an incident that is not there."""
    return IncidentError(f"no incident {printable(incident_id)}: never opened, or past the retention")


def _check(user_pool_id: str, username: str, status: Status) -> None:
    make_command("x", user_pool_id, username, "x_0", status=status, issued_at=from_ms(0))
