"""An incident of any size, as the ledger holds it when it is over; and what looking at it costs."""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks.servers import POOL, Site
from device_status import Incidents
from device_status.command import Status
from device_status.incident import incident_key, make_command
from device_status.ledger import as_json, from_ms

_CHUNK = 10_000
_LOOKS = 50

# Entries as enter.lua and settle.lua leave them, made of one that is given.
_FILL = """
local incident, first, count, template, at = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local keys = {}
for number = first, first + count - 1 do
  local key = string.format('%s:%032x', incident, number)
  local command = string.gsub(template, 'KEY', key)
  redis.call('HSET', 'device-status:command:' .. key, 'command_id', key, 'fingerprint', string.rep('f', 64),
    'command', command, 'lane', 'bulk', 'state', 'succeeded', 'attempts', 1, 'entered_at', at,
    'queued_at', at, 'finished_at', at, 'incident', incident,
    'request_id', '11111111-2222-3333-4444-555555555555')
  keys[#keys + 1] = key
  if #keys == 1000 then
    redis.call('RPUSH', 'device-status:incident:' .. incident .. ':devices', unpack(keys))
    keys = {}
  end
end
if #keys > 0 then redis.call('RPUSH', 'device-status:incident:' .. incident .. ':devices', unpack(keys)) end
"""


def measure(here: Site, devices: int) -> dict[str, Any]:
    """Milliseconds of `progress`, and most memory of a process that writes the report."""
    incidents = Incidents(here.settings)
    name = f"INC-{devices}"
    opened = incidents.open(name, user_pool_id=POOL)
    redis = incidents.ledger.redis
    _fill(redis, name, devices)
    redis.hset(incident_key(name), mapping={"devices": devices, "succeeded": devices, "users": devices // 10})
    at = int(opened.opened_at.timestamp()) // 10 * 10
    redis.hset(
        incident_key(name, "timeline"), mapping={str(at + 10 * n): 250 for n in range(1 + devices // 250)}
    )

    looks = []
    for _ in range(_LOOKS):
        began_at = time.perf_counter()
        incidents.progress(name)
        looks.append(time.perf_counter() - began_at)
    return {
        "status, milliseconds": round(1000 * statistics.median(looks), 1),
        **{f"report as {kind}, MiB": _report(here, name, kind) for kind in ("json", "csv", "html")},
    }


def _fill(redis: Any, name: str, devices: int) -> None:
    command = make_command(
        name, POOL, "user-of-the-incident@example.com", "eu-west-1_00000000-0000-4000-8000-000000000000",
        status=Status.NOT_REMEMBERED, issued_at=from_ms(int(time.time() * 1000)),
    )  # fmt: skip
    template = as_json(command).replace(command.command_id, "KEY")
    for first in range(0, devices, _CHUNK):
        count = min(_CHUNK, devices - first)
        redis.eval(_FILL, 0, name, first, count, template, int(time.time() * 1000))


def _report(here: Site, name: str, kind: str) -> float:
    return here.peak_memory(
        "from device_status.cli import app\n"
        f"app('incident report {name} --format {kind} -o /dev/null'.split(), standalone_mode=False)"
    )
