"""Keeps the caller's own settings out of a process that runs local servers, and out of its children."""

from __future__ import annotations

import os
from typing import Final

_SETTINGS: Final = ("AWS_", "DEVICE_STATUS_")


def forget_settings() -> None:
    """Drop the environment's AWS and device-status settings, the AWS files, and proxies.

    moto opens a session of boto3, which fails on a profile that it can't find; and a command of the demo
    that saw the caller's settings might reach the caller's systems.
    """
    for name in [name for name in os.environ if name.startswith(_SETTINGS)]:
        del os.environ[name]
    os.environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    os.environ |= {"NO_PROXY": "*", "no_proxy": "*"}
