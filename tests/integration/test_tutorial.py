"""The tutorial, run as it is written, on the local servers that it starts."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.waiting import eventually

PAGE = Path(__file__).parents[2] / "docs" / "respond-to-an-incident.md"
SERVERS, WORKER = "python -m device_status_worker.local", "device-status worker"


def commands() -> list[str]:
    """What the page tells to type, in order."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    joined = "".join(blocks).replace("\\\n", " ")
    return [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]


@contextmanager
def started(command: str, environment: dict[str, str], folder: Path, log: str) -> Iterator[Path]:
    """A command of the page that goes on by itself; its standard output."""
    output = folder / log
    with output.open("wb") as out:
        process = subprocess.Popen(
            shlex.split(command), env=environment, cwd=folder, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield output
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_the_tutorial_runs_as_written(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "NO_COLOR": "1"}
    servers, worker, *rest = commands()
    assert servers.startswith(SERVERS)
    assert worker == WORKER
    with ExitStack() as stack:
        said = stack.enter_context(started(servers, environment, tmp_path, "servers"))
        eventually(lambda: "running; Ctrl-C" in said.read_text(), "the servers run")
        exports = re.findall(r"^export (\w+)=(.*)$", said.read_text(), re.MULTILINE)
        environment |= {name: shlex.split(value)[0] for name, value in exports}
        stack.enter_context(started(worker, environment, tmp_path, "worker"))
        for command in rest:
            result = subprocess.run(
                ["bash", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True,
                timeout=90, check=False,
            )  # fmt: skip
            assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    assert "laptops stolen" in (tmp_path / "INC-42.html").read_text()
    assert '"as_ordered":300' in (tmp_path / "INC-42.json").read_text()
