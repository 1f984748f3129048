"""The demo from beginning to end: a sample file, two workers, and whether all came right.

Nothing leaves this machine: Valkey and Amazon Cognito are local ones, and end with the demo.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from rich.console import Console

from device_status.ledger import Ledger
from device_status_worker.demo.follow import follow
from device_status_worker.demo.report import look_up, problems, show_outcomes, show_requests
from device_status_worker.demo.sample import make_sample
from device_status_worker.demo.system import WORKERS, DemoError, System
from device_status_worker.local.isolation import forget_settings

_SERVERS = f"Valkey, a local Amazon Cognito and {WORKERS} workers"


def main(argv: list[str] | None = None) -> int:
    """Run the demo; the exit code is 0 where every command and every device came out as it must.

    Raises:
        KeyboardInterrupt: after everything that was started has ended.
    """
    options = _parser().parse_args(argv)
    forget_settings()
    console = Console(highlight=False, soft_wrap=True)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        # As Ctrl-C does: leave every `with` in order.
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    options.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    console.print(f"Starting {_SERVERS} …")
    try:
        with System(options.folder, options.quota) as system:
            system.wait_until_ready()
            _run(system, options, console)
    except DemoError as error:
        console.print(f"The demo failed: {error}. The workers' logs are in {options.folder}.", markup=False)
        return 1
    console.print(f"Stopped {_SERVERS}; the workers' logs are in {options.folder}.", markup=False)
    return 0


def _run(system: System, options: argparse.Namespace, console: Console) -> None:
    sample = make_sample(system.cognito, options.devices)
    file = options.folder / "sample.csv"
    sample.write(file)
    console.print(f"Wrote {file}: {len(sample.lines)} lines about {options.devices} devices:", markup=False)
    console.print(f"{', '.join(f'{count} {kind}' for kind, count in sample.kinds.items())}.\n")

    console.print(f"$ device-status import {file}", style="bold", markup=False)
    exit_code = system.run("import", str(file))
    if exit_code != bool(sample.bad_lines):
        raise DemoError(f"the import ended with exit code {exit_code}")
    console.print()

    follow(
        Ledger(system.settings.ledger),
        len(sample.commands),
        console,
        timeout=60 + 3 * len(sample.commands) / options.quota,
        check=system.check_workers,
    )
    records = look_up(system.settings, sample)
    console.print()
    show_outcomes(records, console)
    show_requests(system.cognito, options.quota, console)
    wrong = problems(sample, records, system.cognito)
    for problem in wrong[:20]:
        console.print(f"WRONG: {problem}", markup=False)
    if wrong:
        raise DemoError(f"{len(wrong)} commands or devices are not as they must be")
    console.print(f"Asked Cognito: all {len(sample.devices)} devices have the status ordered.", style="bold")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m device_status_worker.demo",
        description=__doc__.partition("\n")[0] if __doc__ else None,
    )
    parser.add_argument("--devices", type=_count, default=300, help="default: %(default)s")
    parser.add_argument(
        "--quota", type=_count, default=25, help="requests a second; default: %(default)s, which is AWS's"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(".demo"), help="for the sample and the logs; default: %(default)s"
    )
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a number from 1")
    return int(text)
