"""Hypothesis strategies for the wire contract."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

usernames = st.text(st.characters(categories=("L", "M", "S", "N", "P")), min_size=1, max_size=128)
pool_ids = st.from_regex(r"[A-Za-z0-9_-]{1,40}_[0-9a-zA-Z]{1,14}", fullmatch=True)
device_keys = st.from_regex(r"[A-Za-z0-9_-]{1,14}_[0-9a-f-]{1,40}", fullmatch=True)
statuses = st.sampled_from(["remembered", "not_remembered"])
keys = st.text(min_size=1, max_size=256)
notes = st.none() | st.text(max_size=256)
# hypothesis takes naive bounds and adds the timezone.
moments = st.datetimes(datetime(1970, 1, 2), datetime(2111, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@st.composite
def instants(draw: st.DrawFn) -> str:
    """A moment as RFC 3339 writes it: any offset, any precision up to nanoseconds, either case."""
    offset = timezone(timedelta(minutes=draw(st.integers(-23 * 60 - 59, 23 * 60 + 59))))
    local = draw(moments).astimezone(offset)
    text = local.strftime("%Y-%m-%dT%H:%M:%S") + draw(st.from_regex(r"(\.[0-9]{1,9})?", fullmatch=True))
    if local.utcoffset() == timedelta(0) and draw(st.booleans()):
        text += "Z"
    else:
        text += local.strftime("%z")[:3] + ":" + local.strftime("%z")[3:]
    return draw(st.sampled_from([text, text.lower()]))


def wire_objects(**fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Valid commands as JSON objects, optional fields there or not; `fixed` replaces a field's strategy."""
    required = {
        "user_pool_id": pool_ids,
        "username": usernames,
        "device_key": device_keys,
        "status": statuses,
    }
    optional = {
        "schema_version": st.just(1),
        "command_id": keys,
        "idempotency_key": keys,
        "issued_at": instants(),
        "expires_at": st.none() | instants(),
        "incident_id": notes,
        "requested_by": notes,
        "reason": notes,
    }
    return st.fixed_dictionaries(
        required | fixed,
        optional={name: strategy for name, strategy in optional.items() if name not in fixed},
    )
