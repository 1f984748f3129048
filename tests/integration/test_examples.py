"""Every block of Python in the documentation and every program in examples/ runs, against a real worker."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from device_status import Lane, State, parse_command
from device_status.outcomes import Claimed
from support.reference import documents
from support.site import Site
from support.waiting import eventually

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
POOL = "eu-west-1_Ab12Cd34E"
DEVICE = re.compile(r"eu-west-1_6f1c2b3a-[0-9a-f-]{27}")
OF_THEIR_OWN = {"bare_celery.py"}
"""Tested with the other producers that do without our package."""


def blocks(page: Path) -> list[str]:
    """The page's blocks of Python, from the first on: a reader goes on where the last one ended."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


PAGES = [page for page in documents() if blocks(page) and page.name != "testing.md"]
"""The blocks of testing.md are files of their own: test_testing_docs.py."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site(update_quota="200") as site:
        site.start_worker().wait_until_ready()
        yield site


@pytest.fixture
def pool(site: Site) -> str:
    return site.make_pool("ada", "grace", region="eu-west-1")


def run(site: Site, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python as a reader would."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=site.environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def example(site: Site, name: str, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run one of examples/."""
    return run(site, str(EXAMPLES / name), *arguments, given=given)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page: Path, site: Site, pool: str) -> None:
    program = "\n".join(blocks(page)).replace(POOL, pool)
    for key in sorted(set(DEVICE.findall(program))):
        site.cognito.add_device(pool, "ada", key)
    done = run(site, "-c", program)
    assert done.returncode == 0, done.stderr


def test_readme_and_publishing_have_blocks() -> None:
    assert {"README.md", "publishing.md"} <= {page.name for page in PAGES}


def test_the_readmes_command_is_done(site: Site, pool: str) -> None:
    (block,) = blocks(ROOT / "README.md")
    assert len(block.splitlines()) <= 10
    (key,) = DEVICE.findall(block)
    site.cognito.add_device(pool, "ada", key)
    done = run(site, "-c", block.replace(POOL, pool) + "\nprint(command_id)")
    assert done.returncode == 0, done.stderr
    assert site.outcome(done.stdout.split()[-1]).state is State.SUCCEEDED
    assert site.cognito.device_status(pool, "ada", key) == "not_remembered"


def test_every_example_is_tested() -> None:
    text = Path(__file__).read_text()
    for file in EXAMPLES.glob("*.py"):
        assert file.name in OF_THEIR_OWN or f'"{file.name}"' in text


class TestEnqueue:
    def test_waits_for_success(self, site: Site, pool: str) -> None:
        key = site.cognito.add_device(pool, "ada")
        done = example(site, "enqueue.py", pool, "ada", key)
        assert (done.returncode, done.stdout.split()[-1]) == (0, "succeeded"), done.stderr
        assert site.cognito.device_status(pool, "ada", key) == "not_remembered"

    def test_tells_why_not(self, site: Site, pool: str) -> None:
        key = site.cognito.add_device(pool, "ada")
        done = example(site, "enqueue.py", pool, "nobody", key)
        assert done.returncode == 1
        assert done.stdout.endswith("dead_lettered UserNotFoundException\n")
        refused = example(site, "enqueue.py", pool, "ada", "no key")
        assert refused.returncode == 1
        assert refused.stdout.startswith("not sent: device_key: ")


def test_enqueue_from_database_repeats_nothing(site: Site, pool: str, tmp_path: Path) -> None:
    keys = [site.cognito.add_device(pool, "grace") for _ in range(30)]
    file = tmp_path / "lost.sqlite"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE lost_devices (id, user_pool_id, username, device_key)")
        rows = [(f"{pool}-{number}", pool, "grace", key) for number, key in enumerate(keys)]
        database.executemany("INSERT INTO lost_devices VALUES (?, ?, ?, ?)", [*rows, ("bad", pool, "", "k")])
    first = example(site, "enqueue_from_database.py", str(file))
    assert first.returncode == 1
    assert "30 accepted, 0 of them known before" in first.stdout
    assert "row 31 refused: " in first.stdout
    for number in range(30):
        assert site.outcome(f"lost-device-{pool}-{number}").state is State.SUCCEEDED
    again = example(site, "enqueue_from_database.py", str(file))
    assert "30 accepted, 30 of them known before" in again.stdout
    assert len(site.requests_for(pool)) == 30


def test_asyncio_service_answers_line_by_line(site: Site, pool: str) -> None:
    commands = [
        {"user_pool_id": pool, "username": "ada", "device_key": site.cognito.add_device(pool, "ada")}
        for _ in range(5)
    ]
    lines = [*commands, {"user_pool_id": pool, "username": "", "device_key": "eu-west-1_0"}]
    done = example(site, "asyncio_service.py", given="".join(json.dumps(line) + "\n" for line in lines))
    answers = done.stdout.splitlines()
    assert all(answer.endswith(": succeeded") for answer in answers[:5]), done.stdout + done.stderr
    assert answers[5].startswith("refused: username: ")


def test_redrive_dead_letters_takes_what_the_service_failed_on(site: Site) -> None:
    command = site.make_command()
    site.producer.enqueue(site.make_command(username="x") | {"username": "nobody"}, lane=Lane.BULK)
    eventually(lambda: site.dead_letters.count_by_error().get("UserNotFoundException"), "a dead letter")
    # As a worker leaves it when the service failed for too long.
    claim = site.ledger.claim(parse_command(command), Lane.BULK)
    assert isinstance(claim, Claimed)
    site.ledger.dead_letter(claim, "RetriesExhausted", "gave up")
    done = example(site, "redrive_dead_letters.py")
    assert "1 redriven" in done.stdout, done.stderr
    assert re.search(r"\d+ left: UserNotFoundException", done.stdout)
    assert site.outcome(command["command_id"]).state is State.SUCCEEDED


class TestWorkerHealth:
    def test_a_worker_that_listens_is_well(self, site: Site) -> None:
        done = example(site, "worker_health.py")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "asked for messages" in done.stdout

    def test_no_worker_is_not(self) -> None:
        with Site() as empty:
            done = example(empty, "worker_health.py")
        assert done.returncode == 1, done.stdout + done.stderr
        assert done.stdout.startswith("no worker of 127.0.0.1 listens")
