"""The workers of device-status: `celery -A device_status_worker worker`, or `device-status worker`."""

from typing import Any


def __getattr__(name: str) -> Any:
    # Celery looks here for the app. Made when asked for: importing a part of this package (the local
    # servers, the table of failures) must not need settings.
    if name == "celery":
        from device_status_worker.app import app  # noqa: PLC0415

        return app
    raise AttributeError(name)
