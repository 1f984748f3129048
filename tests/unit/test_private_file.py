"""Promises about files that hold usernames: nobody else reads them, and nobody chooses where they go."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import typer

from device_status.cli.private_file import private_file
from device_status.incident_html import _spool
from device_status_worker.demo.sample import Sample
from device_status_worker.local import EmbeddedValkey

NOBODY = 65534


def mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def write(file: Path, text: str = "ada") -> None:
    with private_file(str(file)) as out:
        out.write(text)


@pytest.fixture(autouse=True)
def _generous_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


class TestAFile:
    def test_is_for_its_owner_alone(self, tmp_path: Path) -> None:
        write(tmp_path / "report.csv")
        assert mode_of(tmp_path / "report.csv") == 0o600
        assert (tmp_path / "report.csv").read_text() == "ada"

    def test_is_so_even_where_one_stood_that_all_could_read(self, tmp_path: Path) -> None:
        file = tmp_path / "report.csv"
        file.write_text("old")
        file.chmod(0o666)
        with file.open() as reader:
            write(file, "new")
            # Who had it open sees the old one.
            assert reader.read() == "old"
        assert (file.read_text(), mode_of(file)) == ("new", 0o600)

    def test_that_can_not_be_finished_leaves_the_one_before(self, tmp_path: Path) -> None:
        file = tmp_path / "report.csv"
        file.write_text("old")
        with suppress(ZeroDivisionError), private_file(str(file)) as out:
            out.write("new")
            raise ZeroDivisionError
        assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]


class TestALink:
    def test_of_ones_own_is_followed_and_stays(self, tmp_path: Path) -> None:
        link = tmp_path / "latest.csv"
        link.symlink_to("report.csv")
        write(link)
        assert link.is_symlink()
        assert (tmp_path / "report.csv").read_text() == "ada"
        assert mode_of(tmp_path / "report.csv") == 0o600

    @pytest.mark.parametrize(
        "make", [lambda path, at: path.symlink_to(at), lambda path, _: os.mkfifo(path, 0o666)]
    )
    def test_or_pipe_of_another_user_is_refused(
        self,
        make: Callable[[Path, Path], None],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        precious = tmp_path / "precious"
        precious.write_text("precious")
        # Where anybody may put one.
        trap = Path(tempfile.gettempdir()) / f"device-status-{os.getpid()}.csv"
        make(trap, precious)
        try:
            if os.geteuid() == 0:
                os.chown(trap, NOBODY, -1, follow_symlinks=False)
            else:
                # It is ours, so we are another.
                monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
            with pytest.raises(typer.Exit) as ended:
                write(trap)
            assert not trap.is_file() or trap.is_symlink()
        finally:
            trap.unlink()
        assert ended.value.exit_code == 2
        assert "another user has put a link or pipe there" in capsys.readouterr().err
        assert precious.read_text() == "precious"

    def test_that_takes_the_place_meanwhile_is_replaced_and_not_followed(self, tmp_path: Path) -> None:
        precious, file = tmp_path / "precious", tmp_path / "report.csv"
        precious.write_text("precious")
        with private_file(str(file)) as out:
            out.write("ada")
            file.symlink_to(precious)
        assert not file.is_symlink()
        assert (file.read_text(), precious.read_text()) == ("ada", "precious")


class TestOtherFiles:
    def test_what_a_page_is_spooled_to_has_no_name(self) -> None:
        with _spool() as rows:
            rows.rollover()
            found = os.fstat(rows.fileno())
        assert (found.st_nlink, stat.S_IMODE(found.st_mode) & 0o077) == (0, 0)

    def test_the_demos_sample_is_for_its_owner_alone(self, tmp_path: Path) -> None:
        file = tmp_path / "sample.csv"
        file.write_text("old")
        Sample("eu-west-1_x").write(file)
        assert mode_of(file) == 0o600
        assert file.read_text().startswith("command_id,")

    def test_a_local_ledger_is_for_its_owner_alone(self, tmp_path: Path) -> None:
        with EmbeddedValkey(data_dir=tmp_path / "data", append_only=True):
            assert mode_of(tmp_path / "data") == 0o700
