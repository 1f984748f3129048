"""Every mutant fits the code, and the test that must kill it shows a promise; `make mutants` runs them."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
import redis

from mutants.catalogue import MUTANTS
from mutants.mutant import ROOT, Mutant, NoLongerAppliesError
from support.servers import Valkey

PROMISES = (ROOT / "docs" / "guarantees.md").read_text()
NAMED = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PROMISES))


def test_there_are_at_least_sixty_and_each_has_a_name_of_its_own() -> None:
    assert len(MUTANTS) >= 60
    assert [name for name, count in Counter(mutant.name for mutant in MUTANTS).items() if count > 1] == []


def test_each_applies_and_leaves_a_program(valkey: Valkey) -> None:
    """Any test would kill one that can't be compiled."""
    with closing(redis.Redis.from_url(valkey.url)) as client:
        for mutant in MUTANTS:
            file = ROOT / mutant.file
            source = file.read_text()
            text = mutant.apply(source)
            assert text != source, mutant.name
            if file.suffix == ".lua":
                client.script_load(prelude_of(file) + text)
            else:
                compile(text, mutant.name, "exec")


def prelude_of(file: Path) -> str:
    """What the ledger puts before its scripts, and the gate before its own."""
    if file.stem.startswith("prelude"):
        return ""
    names = ("prelude_incident", "prelude") if "producers" in file.parts else ("prelude_gate",)
    return "".join((file.parent / f"{name}.lua").read_text() for name in names)


def test_the_test_of_each_exists_and_is_named_for_a_promise() -> None:
    problems = []
    for mutant in MUTANTS:
        file, *names = mutant.test.partition("[")[0].split("::")
        text = (ROOT / file).read_text()
        missing = [name for name in names if not re.search(rf"^\s*(def|class) {name}\b", text, re.MULTILINE)]
        problems += [f"{mutant.name}: {file} has no {name}" for name in missing]
        if not any((file, name) in NAMED for name in names):
            problems.append(f"{mutant.name}: docs/guarantees.md names neither {mutant.test} nor its class")
    assert problems == []


@pytest.mark.parametrize(
    ("source", "after"),
    [
        pytest.param("other", "", id="gone"),
        pytest.param("text text", "", id="twice"),
        pytest.param("text anchor", "anchor", id="before its anchor"),
        pytest.param("anchor text anchor text", "anchor", id="two anchors"),
    ],
)
def test_one_that_no_longer_applies_is_an_error(source: str, after: str) -> None:
    mutant = Mutant("what breaks", "file.py", "text", "other", "test", after)
    with pytest.raises(NoLongerAppliesError, match="'what breaks' no longer applies"):
        mutant.apply(source)


def test_the_first_text_behind_its_anchor_is_replaced() -> None:
    mutant = Mutant("what breaks", "file.py", "text", "other", "test", after="anchor")
    assert mutant.apply("text anchor text text") == "text anchor other text"
