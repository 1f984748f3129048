"""Keeps the caller's own settings out of a process that runs local servers, and out of its children."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

_SETTINGS: Final = ("AWS_", "DEVICE_STATUS_")


def forget_settings() -> None:
    """Drop the environment's AWS and device-status settings, the AWS files, and proxies.

    moto opens a session of boto3, which fails on a profile that it can't find; and a command of the demo
    that saw the caller's settings might reach the caller's systems.
    """
    kept = without_settings(os.environ)
    for name in os.environ.keys() - kept.keys():
        del os.environ[name]
    os.environ |= kept


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables as `forget_settings` leaves them."""
    return {
        **{name: value for name, value in environment.items() if not name.startswith(_SETTINGS)},
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "*",
        "no_proxy": "*",
    }
