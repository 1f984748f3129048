"""The documentation is true: links lead somewhere, commands exist, and what the code says is what it says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_status import Lane, Status
from device_status.command import DeviceStatusCommand
from device_status.outcomes import State
from device_status.publisher import queue_name
from support.cli import commands_in, problem_of
from support.reference import documents, renewed

ROOT = Path(__file__).parents[2]
PAGES = documents()
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def shell_lines(page: str) -> Iterator[str]:
    """Every line that a reader is told to type."""
    for block in re.findall(r"^ *```(?:console|sh|bash)\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if line.lstrip().startswith("$ "):
                yield line.lstrip().removeprefix("$ ")


def without_blocks(page: str) -> str:
    """The page's prose."""
    return re.sub(r"^ *```.*?^ *```", "", page, flags=re.DOTALL | re.MULTILINE)


def anchor(heading: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def source_files() -> list[Path]:
    """The modules that are installed."""
    return [*(ROOT / "producers").rglob("*.py"), *(ROOT / "worker").rglob("*.py")]


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page.read_text())):
        if "://" in target:
            continue
        path, _, name = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if name:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert name in map(anchor, headings), target


@each_page
def test_commands_to_type_are_taken(page: Path) -> None:
    for line in shell_lines(page.read_text()):
        for arguments in commands_in(line):
            assert (problem := problem_of(arguments)) is None, f"{line}: {problem}"


@each_page
def test_commands_in_the_text_exist(page: Path) -> None:
    for text in re.findall(r"`(device-status [^`]+)`", without_blocks(page.read_text())):
        for arguments in commands_in(text.replace("…", "")):
            assert (problem := problem_of(arguments, may_lack_arguments=True)) is None, f"{text}: {problem}"


@each_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text()
    named = [*re.findall(r"`make ([a-z]+)", text), *re.findall(r"^\$ make ([a-z]+)", text, re.MULTILINE)]
    assert set(named) <= targets


@each_page
def test_what_is_made_from_the_code_is_current(page: Path) -> None:
    assert page.read_text() == renewed(page.read_text()), "run: make docs"


@each_page
def test_settings_that_are_named_exist(page: Path) -> None:
    known = re.findall(r"DEVICE_STATUS_\w+", (ROOT / ".env.example").read_text())
    assert set(re.findall(r"DEVICE_STATUS_[A-Z_]*[A-Z]", page.read_text())) <= {*known, "DEVICE_STATUS_"}


def test_lines_of_a_shell_are_read_as_a_shell_does() -> None:
    line = "A=1 device-status send -x 'a | b' > out | device-status import - # device-status no"
    assert commands_in(line) == [["send", "-x", "a | b"], ["import", "-"]]
    assert commands_in("pip install device-status && cd device-status") == []
    assert problem_of(["import", "a.csv", "--lane", "nope"])
    assert problem_of(["import", "a.csv", "--lan", "bulk"], may_lack_arguments=True)
    assert problem_of(["import"])
    assert problem_of(["import"], may_lack_arguments=True) is None
    assert problem_of(["nope"])


def test_pages_are_found() -> None:
    names = {page.name for page in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "how-it-works.md", "operating.md", "reference.md"} <= names


class TestPublishing:
    PAGE = (ROOT / "docs" / "publishing.md").read_text()

    def test_has_every_field_of_a_command(self) -> None:
        table = self.PAGE.partition("## The command\n")[2].partition("\n## ")[0]
        fields = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (.+?) \|", table, re.MULTILINE)))
        assert set(fields) == set(DeviceStatusCommand.model_fields)
        for status in Status:
            assert f"`{status}`" in table

    def test_has_every_lane_and_its_queue(self) -> None:
        for lane in Lane:
            assert f"| `{lane}` | `{queue_name(lane)}` |" in self.PAGE


class TestHowItWorks:
    PAGE = (ROOT / "docs" / "how-it-works.md").read_text()

    def test_draws_every_state(self) -> None:
        (drawing,) = re.findall(r"```mermaid\n(.*?)```", self.PAGE, re.DOTALL)
        drawn = set(re.findall(r"(\w+) -->|--> (\w+)", drawing))
        assert {name for pair in drawn for name in pair if name} == set(State)

    def test_names_every_outcome(self) -> None:
        (row,) = re.findall(r"^\| outcome \|.+$", self.PAGE, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", row)) == {state for state in State if state.is_outcome}


class TestWhatTheLogMeans:
    TABLE = (ROOT / "docs" / "operating.md").read_text().partition("| in the log |")[2].partition("\n## ")[0]
    ROWS = re.findall(r"^\| (`.+?) \|", TABLE, re.MULTILINE)
    PHRASES = tuple(phrase for row in ROWS for phrase in re.findall("`(.+?)`", row))

    def test_names_what_the_code_says(self) -> None:
        code = "".join(file.read_text() for file in source_files())
        assert len(self.PHRASES) > 10
        for phrase in self.PHRASES:
            assert phrase in code, phrase

    def test_names_every_warning_and_error_of_a_worker(self) -> None:
        said = [text for file in source_files() if "local" not in file.parts for text in warnings_of(file)]
        assert len(said) > 10
        for text in said:
            assert any(phrase in text for phrase in self.PHRASES), text


def warnings_of(file: Path) -> Iterator[str]:
    """The texts that a module logs at WARNING or above, where they stand in the call."""
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="logger"), attr="warning" | "error" | "exception"),
                args=[ast.Constant(value=str(text)), *_],
            ) if re.sub("%s|incident", "", text).strip(" :"):  # Else an error's own text is all of it.
                yield text
