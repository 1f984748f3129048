"""A service on asyncio that forgets devices: one JSON object a line in, the outcome a line out.

The loop is never blocked: enqueueing and looking up happen in threads.
"""

from __future__ import annotations

import asyncio
import json
import sys

from device_status import InvalidCommandError, Producer


async def forget(producer: Producer, fields: dict[str, str]) -> str:
    """Enqueue one command and wait for its outcome."""
    try:
        command_id = await producer.aenqueue({**fields, "status": "not_remembered"})
    except InvalidCommandError as error:
        return f"refused: {error}"
    while True:
        record = await producer.alookup(command_id)
        if record and record.outcome:
            return f"{command_id}: {record.outcome}"
        await asyncio.sleep(0.2)


async def main() -> None:
    """All lines at once; answers in the order of the lines."""
    producer = Producer()
    lines = await asyncio.to_thread(sys.stdin.readlines)
    async with asyncio.timeout(60):
        for answer in await asyncio.gather(*(forget(producer, json.loads(line)) for line in lines)):
            print(answer)


if __name__ == "__main__":
    asyncio.run(main())
