"""`device-status worker`: the same as `celery -A device_status_worker worker --loglevel INFO`, for people."""

from __future__ import annotations

from typing import Annotated

import typer

from device_status.cli.output import Exit, fail
from device_status.command import Lane
from device_status.publisher import queue_name


def worker(
    lanes: Annotated[
        list[Lane] | None, typer.Option("--lane", help="Only this lane; may be given again. Default: all.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Threads; default: DEVICE_STATUS_CONCURRENCY.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
    name: Annotated[str | None, typer.Option(help="Of this worker in the log; default: the host's.")] = None,
) -> None:
    """Run a worker until SIGTERM or Ctrl-C; it finishes or gives back what it has, and exits with 0."""
    try:
        from celery.bin.celery import celery  # noqa: PLC0415 - an extra that producers don't install

        import device_status_worker.app  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        fail(Exit.SETTINGS, f"{error.name} is missing: pip install 'device-status[worker]'")
    arguments = ["worker", "--loglevel", log_level.upper()]
    if lanes:
        arguments += ["--queues", ",".join(queue_name(lane) for lane in lanes)]
    if concurrency:
        arguments += ["--concurrency", str(concurrency)]
    if name:
        arguments += ["--hostname", name]
    # Not `app.worker_main`, which keeps the exit code to itself.
    code = celery.main(args=["--app", "device_status_worker", *arguments], standalone_mode=False)
    raise typer.Exit(code or Exit.OK)
