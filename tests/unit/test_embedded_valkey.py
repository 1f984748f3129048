"""Promises of `device_status_worker.local.EmbeddedValkey`, against the real binary."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from device_status_worker.local import EmbeddedValkey, ValkeyStartError, valkey
from device_status_worker.local.probe import PORTS

# Starts a Valkey, says its process id, and does what the test has chosen.
OWNER = """
import sys
from device_status_worker.local import EmbeddedValkey
server = EmbeddedValkey().start()
print(server.pid, flush=True)
{then}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey() as running:
        yield running


def client(server: EmbeddedValkey) -> Redis:
    return Redis.from_url(server.url, decode_responses=True)


def ended(pid: int, seconds: float = 10) -> bool:
    """Waits until a process that is not our child is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


class TestStarting:
    def test_it_answers_as_soon_as_it_has_started(self, server: EmbeddedValkey) -> None:
        assert client(server).ping()
        assert server.url == f"redis://127.0.0.1:{server.port}/0"

    def test_it_is_the_process_it_says(self, server: EmbeddedValkey) -> None:
        assert client(server).info("server")["process_id"] == server.pid

    def test_it_listens_on_the_loopback_interface_only(self, server: EmbeddedValkey) -> None:
        assert client(server).config_get("bind")["bind"] == "127.0.0.1"

    def test_it_refuses_writes_rather_than_evict(self, server: EmbeddedValkey) -> None:
        assert client(server).config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"

    def test_it_keeps_nothing_unless_asked(self, server: EmbeddedValkey) -> None:
        config = client(server).config_get("*")
        assert (config["appendonly"], config["save"]) == ("no", "")

    def test_its_port_is_never_one_that_a_reconnecting_client_may_get(self, server: EmbeddedValkey) -> None:
        assert server.port in PORTS

    def test_two_run_side_by_side(self, server: EmbeddedValkey) -> None:
        with EmbeddedValkey() as other:
            assert other.port != server.port
            assert client(other).ping()

    def test_options_override_the_defaults(self) -> None:
        with EmbeddedValkey(config={"maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"}) as server:
            assert client(server).config_get("maxmemory-policy")["maxmemory-policy"] == "allkeys-lru"

    def test_another_port_is_tried_when_somebody_was_faster(
        self, server: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            free = probe.getsockname()[1]
        ports = iter([server.port, free])  # the first looked free, and is taken by the time Valkey binds
        monkeypatch.setattr(valkey, "free_port", lambda: next(ports))
        with EmbeddedValkey() as second:
            assert second.port == free
            assert client(second).info("server")["process_id"] == second.pid

    def test_a_given_port_that_is_taken_is_an_error_even_if_a_valkey_answers_there(
        self, server: EmbeddedValkey
    ) -> None:
        with pytest.raises(ValkeyStartError, match=f"Port {server.port} is taken"):
            EmbeddedValkey(port=server.port).start()

    def test_a_wrong_option_is_an_error_that_shows_valkeys_complaint(self) -> None:
        with pytest.raises(ValkeyStartError, match="no-such-option"):
            EmbeddedValkey(config={"no-such-option": "1"}).start()

    def test_options_that_are_its_own_are_refused(self) -> None:
        with pytest.raises(ValueError, match="bind"):
            EmbeddedValkey(config={"bind": "0.0.0.0"})

    def test_a_second_start_is_an_error(self, server: EmbeddedValkey) -> None:
        with pytest.raises(ValkeyStartError, match="runs already"):
            server.start()

    def test_no_port_is_known_before_the_first_start(self) -> None:
        with pytest.raises(ValkeyStartError):
            _ = EmbeddedValkey().port


class TestStoppingAndComingBack:
    def test_data_outlives_a_restart_on_the_same_port(self, tmp_path: Path) -> None:
        with EmbeddedValkey(data_dir=tmp_path, append_only=True) as server:
            before = (server.port, server.pid)
            client(server).set("kept", "yes")
            server.restart()
            assert client(server).get("kept") == "yes"
            assert server.port == before[0]
            assert server.pid != before[1]
            assert client(server).config_get("appendfsync")["appendfsync"] == "everysec"

    def test_data_outlives_a_kill_if_every_write_is_synced(self) -> None:
        with EmbeddedValkey(append_only=True, config={"appendfsync": "always"}) as server:
            client(server).set("kept", "yes")
            server.kill()
            server.start()
            assert client(server).get("kept") == "yes"

    def test_a_killed_one_is_gone_at_once_and_restarts(self) -> None:
        with EmbeddedValkey() as server:
            pid = server.pid
            assert pid is not None
            server.kill()
            assert server.pid is None
            assert ended(pid)
            server.restart()
            assert client(server).ping()

    def test_one_that_died_on_its_own_can_be_started_again(self) -> None:
        with EmbeddedValkey() as server:
            pid = server.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            assert ended(pid)
            assert server.pid is None
            server.start()
            assert client(server).ping()

    def test_stopping_what_does_not_run_does_nothing(self) -> None:
        server = EmbeddedValkey()
        server.stop()
        server.kill()
        server.close()

    def test_after_close_it_can_begin_anew_on_its_port(self) -> None:
        server = EmbeddedValkey()
        with server:
            port = server.port
            client(server).set("gone", "yes")
        with server:
            assert server.port == port
            assert client(server).get("gone") is None

    def test_a_temporary_directory_goes_and_a_given_one_stays(self, tmp_path: Path) -> None:
        with EmbeddedValkey() as temporary, EmbeddedValkey(data_dir=tmp_path / "new") as given:
            directory = temporary.data_dir
            assert directory.exists()
            assert given.data_dir.exists()
        assert not directory.exists()
        assert given.data_dir.exists()


class TestLeavingNothingBehind:
    def owner(self, tmp_path: Path, then: str) -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER.format(then=then)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},  # for what a killed owner can't remove
        )
        assert process.stdout is not None
        with process.stdout:
            return process, int(process.stdout.readline())

    def test_it_ends_when_its_owner_is_killed(self, tmp_path: Path) -> None:
        owner, pid = self.owner(tmp_path, "import time; time.sleep(60)")
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        assert ended(pid)

    def test_it_ends_when_its_owner_forgets_it(self, tmp_path: Path) -> None:
        owner, pid = self.owner(tmp_path, "")
        assert owner.wait() == 0
        assert ended(pid)

    def test_it_outlives_the_thread_that_started_it(self, tmp_path: Path) -> None:
        owner, pid = self.owner(
            tmp_path,
            "import threading\n"
            "other = EmbeddedValkey()\n"
            "starter = threading.Thread(target=other.start); starter.start(); starter.join()\n"
            "import redis; redis.Redis.from_url(other.url).ping()\n"
            "other.close(); server.close()",
        )
        assert owner.wait() == 0
        assert ended(pid)

    def test_ctrl_c_in_the_terminal_does_not_take_it_from_its_owner(self, server: EmbeddedValkey) -> None:
        assert server.pid is not None
        assert os.getpgid(server.pid) != os.getpgid(0)
