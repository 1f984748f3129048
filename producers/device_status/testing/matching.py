"""Whether a command that was sent has the fields that a test expects, and what to say if none has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter

from device_status.command import DeviceStatusCommand, Instant, Lane

FIELDS: Final = (*DeviceStatusCommand.model_fields, "lane")
_SHOWN: Final = 20
"""Commands that a failure lists."""
_INSTANT: Final = TypeAdapter[Any](Instant)


@dataclass(frozen=True, slots=True)
class Sent:
    """A command that was enqueued."""

    command: DeviceStatusCommand
    lane: Lane

    def value(self, name: str) -> Any:
        """Of a field of the command, or the lane."""
        return self.lane if name == "lane" else getattr(self.command, name)


def check_names(fields: Mapping[str, Any]) -> None:
    """Raises TypeError for what no command has, which would never match."""
    if unknown := [name for name in fields if name not in FIELDS]:
        raise TypeError(f"a command has no {' and no '.join(unknown)}; it has {', '.join(FIELDS)}")


def differences(sent: Sent, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are not as expected, by the names of their fields."""
    return {
        name: sent.value(name)
        for name, wanted in fields.items()
        if sent.value(name) != (_INSTANT.validate_python(wanted) if _is_instant(name, wanted) else wanted)
    }


def explain(all_sent: Sequence[Sent], fields: Mapping[str, Any], count: int | None) -> str:
    """Why an assertion failed: what was expected, what comes nearest, and everything that was enqueued."""
    return "\n".join(_lines(all_sent, fields, count))


def _lines(all_sent: Sequence[Sent], fields: Mapping[str, Any], count: int | None) -> Iterator[str]:
    wanted = " and ".join(f"{name}={_shown(value)}" for name, value in fields.items())
    having = f" with {wanted}" if fields else ""
    found = sum(not differences(sent, fields) for sent in all_sent)
    if count is None:
        yield f"no command{having} was enqueued"
    else:
        yield f"{found} commands{having} were enqueued, not {count}"
    if not all_sent:
        yield "nothing was enqueued"
        return
    if not found:
        number, nearest = min(enumerate(all_sent, 1), key=lambda pair: len(differences(pair[1], fields)))
        different = differences(nearest, fields)
        yield f"nearest is number {number}, which differs in " + ", ".join(
            f"{name}: {_shown(value)} instead of {_shown(fields[name])}" for name, value in different.items()
        )
    yield f"enqueued ({len(all_sent)}):"
    for number, sent in enumerate(all_sent[:_SHOWN], 1):
        shown = sent.command.to_wire() | {"lane": sent.lane.value}
        yield f"  {number}. " + " ".join(f"{name}={_shown(value)}" for name, value in shown.items())
    if len(all_sent) > _SHOWN:
        yield f"  and {len(all_sent) - _SHOWN} more"


def _is_instant(name: str, wanted: object) -> bool:
    return name.endswith("_at") and isinstance(wanted, str)


def _shown(value: object) -> str:
    return repr(str(value)) if isinstance(value, str) else repr(value)
