"""Promises of the registry: who runs is known, who ended is forgotten, and what must not differ is found."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from device_status import DeviceStatusError, Lane, load_settings
from device_status.cli import app
from device_status.ledger import Ledger
from device_status.registry import (
    WorkerEntry,
    deregister,
    differences,
    entry_of,
    register,
    running,
)
from support.clock import let_time_pass
from support.servers import Valkey

ROLE = "arn:aws:iam::222222222222:role/device-status"
WORKERS, SEEN = "device-status:workers", "device-status:workers:seen"


def entry(host: str = "celery@one", **settings: Any) -> WorkerEntry:
    return entry_of(load_settings(broker_url="redis://h", **settings), host, [Lane.URGENT])


def targets(**account: Any) -> str:
    return json.dumps({"eu-west-1_Ab*": {"role_arn": ROLE, **account}})


def hosts(workers: list[WorkerEntry]) -> list[str]:
    return sorted(each.host for each in workers)


class TestWhatAWorkerSays:
    def test_of_itself(self) -> None:
        said = entry("celery@one", update_quota=20, targets=targets(read_quota=100), retention=7200)
        assert (said.host, said.lanes, said.version) == ("celery@one", ("urgent",), "0.1.0")
        assert said.quotas == {
            "default": {"update": 20, "read": 50, "list_users": 30},
            "222222222222 (eu-west-1_Ab*)": {"update": 20, "read": 100, "list_users": 30},
        }
        assert said.settings["DEVICE_STATUS_RETENTION"] == "PT2H"
        assert said.started_at.tzinfo is not None

    def test_without_passwords_and_tokens(self) -> None:
        said = entry_of(
            load_settings(
                broker_url="redis://:hunter2@h",
                incident_webhook="https://hooks.test/hunter2",
                incident_webhook_secret="hunter2",
            ),
            "celery@one",
            list(Lane),
        )
        assert "hunter2" not in said.model_dump_json()


class TestWhoRuns:
    def test_each_worker_has_its_entry(self, ledger: Ledger) -> None:
        assert register(ledger, "1", entry("celery@one")) == running(ledger)
        assert hosts(register(ledger, "2", entry("celery@two"))) == ["celery@one", "celery@two"]
        assert hosts(running(ledger)) == ["celery@one", "celery@two"]

    def test_one_that_ends_in_order_is_gone_at_once(self, ledger: Ledger) -> None:
        for name in ("1", "2"):
            register(ledger, name, entry(f"celery@{name}"))
        deregister(ledger, "1")
        assert hosts(running(ledger)) == ["celery@2"]
        deregister(ledger, "2")
        assert not ledger.redis.keys("device-status:workers*")

    def test_one_that_is_killed_is_gone_after_a_minute(self, ledger: Ledger) -> None:
        register(ledger, "1", entry("celery@one"))
        let_time_pass(ledger.redis, 59)
        assert hosts(running(ledger)) == ["celery@one"]
        register(ledger, "2", entry("celery@two"))
        let_time_pass(ledger.redis, 2)
        assert hosts(running(ledger)) == ["celery@two"]
        assert hosts(register(ledger, "2", entry("celery@two"))) == ["celery@two"]
        assert ledger.redis.hkeys(WORKERS) == ["2"]

    def test_the_last_one_that_is_killed_leaves_nothing(self, ledger: Ledger) -> None:
        register(ledger, "1", entry())
        let_time_pass(ledger.redis, 61)
        assert not ledger.redis.keys("device-status:workers*")

    def test_a_clock_that_steps_back_keeps_no_dead_worker(self, ledger: Ledger) -> None:
        register(ledger, "dead", entry("celery@dead"))
        let_time_pass(ledger.redis, -600)
        assert running(ledger) == []
        register(ledger, "1", entry("celery@one"))
        let_time_pass(ledger.redis, 59)
        register(ledger, "1", entry("celery@one"))
        let_time_pass(ledger.redis, 2)
        register(ledger, "1", entry("celery@one"))
        assert hosts(running(ledger)) == ["celery@one"]
        assert ledger.redis.zrange(SEEN, 0, -1) == ["1"]


class TestOtherVersions:
    def test_an_unknown_field_is_passed_over(self, ledger: Ledger) -> None:
        newer = json.loads(entry().model_dump_json()) | {"in_hand": 3}
        register(ledger, "1", entry())
        ledger.redis.hset(WORKERS, "1", json.dumps(newer))
        assert hosts(running(ledger)) == ["celery@one"]

    @pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"host": 3}', "\x00", "null"])
    def test_an_entry_that_can_not_be_read_hides_no_other(self, text: str, ledger: Ledger) -> None:
        for name in ("1", "2"):
            register(ledger, name, entry(f"celery@{name}"))
        ledger.redis.hset(WORKERS, "2", text)
        assert hosts(running(ledger)) == ["celery@1"]
        assert hosts(register(ledger, "1", entry("celery@1"))) == ["celery@1"]

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["version", "host", "lanes", "started_at", "quotas", "settings", "x"]),
                    inner,
                )
            ),
        )
    )
    def test_whatever_stands_there_is_compared_or_passed_over(self, valkey: Valkey, content: Any) -> None:
        ledger = Ledger(valkey.url)
        register(ledger, "1", entry())
        ledger.redis.hset(WORKERS, "1", json.dumps(content))
        differences([*running(ledger), entry()])
        ledger.redis.close()

    def test_a_setting_that_one_does_not_know_is_no_difference(self) -> None:
        older = entry().model_copy(update={"settings": {}, "quotas": {}})
        assert differences([older, entry("celery@two")]) == []


class TestDifferences:
    def texts(self, *workers: WorkerEntry) -> list[str]:
        return [each.text for each in differences(workers)]

    def test_the_same_settings_are_none(self) -> None:
        assert (
            self.texts(entry("celery@one", targets=targets()), entry("celery@two", targets=targets())) == []
        )

    @pytest.mark.parametrize("category", ["update", "read", "list_users"])
    def test_quotas_are_named_with_their_hosts(self, category: str) -> None:
        one, two = (entry(host, **{f"{category}_quota": quota}) for host, quota in [("a", 9), ("b", 200)])
        assert self.texts(two, one) == [
            f"workers have different quotas for {category} of default: 9 on a; 200 on b; the lowest of those "
            "that asked in the last minute holds; give all of them the same "
            f"DEVICE_STATUS_{category.upper()}_QUOTA"
        ]

    def test_quotas_of_another_account(self) -> None:
        one, two = (entry(host, targets=targets(update_quota=quota)) for host, quota in [("a", 9), ("b", 20)])
        (text,) = self.texts(one, two)
        assert "different quotas for update of 222222222222 (eu-west-1_Ab*): 9 on a; 20 on b" in text
        assert text.endswith("the same DEVICE_STATUS_TARGETS")

    @pytest.mark.parametrize(
        ("variable", "values"),
        [
            ("RETENTION", ({"retention": 7200}, {})),
            ("MAX_ATTEMPTS", ({"max_attempts": 3}, {})),
            ("MAX_AGE", ({"max_age": 3}, {})),
            ("TARGETS", ({"targets": targets()}, {})),
            ("TARGETS", ({"targets": targets()}, {"targets": targets().replace("Ab*", "Ac*")})),
            (
                "INCIDENT_WEBHOOK",
                ({"incident_webhook": "https://h", "incident_webhook_secret": "s"}, {}),
            ),
        ],
    )
    def test_settings_that_must_be_the_same(
        self, variable: str, values: tuple[dict[str, Any], dict[str, Any]]
    ) -> None:
        texts = self.texts(entry("a", **values[0]), entry("b", **values[1]))
        (text,) = [each for each in texts if "quotas" not in each]
        assert text.startswith(f"workers have different settings: DEVICE_STATUS_{variable} is ")
        assert text.endswith("; give all of them the same")

    def test_of_many_hosts_some_are_named(self) -> None:
        many = [entry(f"host-{number}") for number in range(9)]
        (text,) = self.texts(*many, entry("other", update_quota=200))
        assert "25 on host-0, host-1, host-2 and 6 more; 200 on other;" in text

    def test_it_stays_the_same_for_other_hosts_and_not_for_other_values(self) -> None:
        def what(host: str, quota: int) -> list[str]:
            return [each.what for each in differences([entry("a"), entry(host, update_quota=quota)])]

        assert what("b", 200) == what("c", 200) != what("b", 100)


class TestDoctor:
    @pytest.fixture
    def findings(
        self, redis_url: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[], list[tuple[str, str]]]:
        """What doctor finds of the workers: level and finding."""
        monkeypatch.setenv("DEVICE_STATUS_BROKER_URL", redis_url)
        # Without credentials it asks AWS nothing.
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, os.devnull)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        ledger.redis.set("device-status:sweeper", "some worker's lease")

        def ask() -> list[tuple[str, str]]:
            found = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
            return [(each["level"], each["finding"]) for each in found if each["check"] == "workers"]

        return ask

    def test_names_who_runs(self, ledger: Ledger, findings: Callable[[], list[tuple[str, str]]]) -> None:
        for number in range(5):
            register(ledger, str(number), entry(f"celery@{number}"))
        ((level, finding),) = findings()
        assert level == "ok"
        assert finding.startswith("running: celery@0, celery@1, celery@2 and 2 more; 0 commands")

    def test_warns_of_what_differs(
        self, ledger: Ledger, findings: Callable[[], list[tuple[str, str]]]
    ) -> None:
        register(ledger, "1", entry("celery@one"))
        register(ledger, "2", entry("celery@two", update_quota=200, retention=7200))
        settings, quotas, (level, _) = findings()
        assert settings[0] == quotas[0] == "warning"
        assert "DEVICE_STATUS_RETENTION is P7D on celery@one; PT2H on celery@two; give all" in settings[1]
        assert "quotas for update of default: 25 on celery@one; 200 on celery@two; the lowest" in quotas[1]
        assert level == "ok"


def test_a_ledger_that_holds_something_else_is_an_error_and_not_a_crash(ledger: Ledger) -> None:
    ledger.redis.set(WORKERS, "x")
    with pytest.raises(DeviceStatusError):
        running(ledger)
    with pytest.raises(DeviceStatusError):
        register(ledger, "1", entry())
