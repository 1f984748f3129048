"""The contract as a JSON Schema, for services in other languages.

python -m device_status.schema > docs/command.schema.json
"""

from __future__ import annotations

import json
import sys

from device_status.command import DeviceStatusCommand


def schema_text() -> str:
    """The schema as `docs/command.schema.json` holds it.

    Its patterns are ECMA 262's, with the flag u. What no pattern can say is left to `format`: that a
    date exists.
    """
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **DeviceStatusCommand.model_json_schema(mode="validation"),
    }
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
