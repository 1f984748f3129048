"""Promises of the environment variables: each is read, a wrong one is named, no password is shown."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from device_status import DeviceStatusError, Settings, SettingsError, load_settings
from device_status.urls import without_password

PASSWORD = "hunter2"


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets DEVICE_STATUS_* variables: `env(RETENTION="P7D")`."""

    def set_variables(**variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(f"DEVICE_STATUS_{name}", value)
        return load_settings()

    return set_variables


def complaint(env: Any, **variables: str) -> str:
    """The text with which the variables are refused: one line."""
    with pytest.raises(SettingsError) as caught:
        env(**variables)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestDefaults:
    def test_nothing_need_be_set(self) -> None:
        settings = load_settings()
        assert settings.broker_url == settings.ledger == "redis://127.0.0.1:6379/0"
        assert (settings.update_quota, settings.read_quota) == (25, 50)
        assert (settings.concurrency, settings.max_attempts) == (16, 12)
        assert (settings.retention, settings.max_age) == (timedelta(days=7), timedelta(hours=24))

    def test_an_empty_variable_counts_as_not_set(self, env: Any) -> None:
        names = ["BROKER_URL", "LEDGER_URL", "UPDATE_QUOTA", "RETENTION", "MAX_AGE", "CONCURRENCY"]
        assert env(**dict.fromkeys(names, "")) == load_settings()

    def test_an_override_wins_over_the_environment(self, env: Any) -> None:
        env(CONCURRENCY="3")
        assert load_settings(concurrency=4).concurrency == 4

    def test_settings_can_not_be_changed(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            load_settings().concurrency = 3  # type: ignore[misc]


class TestEachVariable:
    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            ("BROKER_URL", "rediss://cache.example:6380/1", "rediss://cache.example:6380/1"),
            ("LEDGER_URL", "redis://ledger.example:6379/2", "redis://ledger.example:6379/2"),
            ("UPDATE_QUOTA", "12.5", 12.5),
            ("READ_QUOTA", "200", 200.0),
            ("CONCURRENCY", "4", 4),
            ("RETENTION", "P30D", timedelta(days=30)),
            ("MAX_ATTEMPTS", "3", 3),
            ("MAX_AGE", "PT90M", timedelta(minutes=90)),
        ],
    )
    def test_is_read(self, env: Any, name: str, text: str, value: Any) -> None:
        assert getattr(env(**{name: text}), name.lower()) == value

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("UPDATE_QUOTA", "0"),
            ("UPDATE_QUOTA", "-1"),
            ("UPDATE_QUOTA", "fast"),
            ("UPDATE_QUOTA", "nan"),
            ("UPDATE_QUOTA", "inf"),
            ("READ_QUOTA", "0"),
            ("READ_QUOTA", "25/s"),
            ("CONCURRENCY", "0"),
            ("CONCURRENCY", "1.5"),
            ("CONCURRENCY", "1001"),
            ("RETENTION", "0"),
            ("RETENTION", "-5"),
            ("RETENTION", "a week"),
            ("RETENTION", "P11Y"),
            ("MAX_ATTEMPTS", "0"),
            ("MAX_ATTEMPTS", "twelve"),
            ("MAX_AGE", "0"),
            ("MAX_AGE", "soon"),
            ("MAX_AGE", "9" * 40),
            ("BROKER_URL", "http://127.0.0.1"),
            ("BROKER_URL", "127.0.0.1:6379"),
            ("LEDGER_URL", "amqp://127.0.0.1"),
            ("LEDGER_URL", "127.0.0.1:6379"),
        ],
    )
    def test_is_named_where_it_is_wrong(self, env: Any, name: str, text: str) -> None:
        assert complaint(env, **{name: text}).startswith(f"DEVICE_STATUS_{name}: ")

    def test_all_that_are_wrong_are_named_at_once(self, env: Any) -> None:
        text = complaint(env, UPDATE_QUOTA="x", CONCURRENCY="y", MAX_AGE="z")
        for name in ("UPDATE_QUOTA", "CONCURRENCY", "MAX_AGE"):
            assert f"DEVICE_STATUS_{name}: " in text

    def test_the_complaint_is_one_of_the_packages_errors(self, env: Any) -> None:
        with pytest.raises(DeviceStatusError):
            env(CONCURRENCY="0")


class TestUnknownNames:
    """Ignored, a misspelled setting would have its default, and nobody would notice."""

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("BROKER_ULR", "BROKER_URL"),
            ("BROKER", "BROKER_URL"),
            ("LEDGERURL", "LEDGER_URL"),
            ("QUOTA", "READ_QUOTA"),
            ("UPDATE_QUOTAS", "UPDATE_QUOTA"),
            ("INCIDENT_WEB_HOOK", "INCIDENT_WEBHOOK"),
        ],
    )
    def test_a_variable_is_refused_with_the_nearest_that_exists(
        self, env: Any, name: str, meant: str
    ) -> None:
        assert complaint(env, **{name: "hunter2"}) == (
            f"DEVICE_STATUS_{name}: is not a setting; did you mean DEVICE_STATUS_{meant}?"
        )

    def test_one_that_is_near_to_none_is_refused_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DEVICE_STATUS_\x1b[2J", "x")
        with pytest.raises(SettingsError) as caught:
            load_settings()
        assert str(caught.value) == "DEVICE_STATUS_\\x1b[2J: is not a setting; remove it"

    def test_all_are_named_at_once(self, env: Any) -> None:
        text = complaint(env, BROKER_ULR="x", CONCURENCY="1")
        assert "DEVICE_STATUS_BROKER_URL?; DEVICE_STATUS_CONCURENCY: " in text

    def test_a_name_in_lower_case_is_read_or_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("device_status_concurrency", "3")
        assert load_settings().concurrency == 3
        monkeypatch.setenv("device_status_concurency", "3")
        with pytest.raises(
            SettingsError, match=r"^device_status_concurency: .* DEVICE_STATUS_CONCURRENCY\?$"
        ):
            load_settings()

    def test_an_empty_one_counts_as_not_set(self, env: Any) -> None:
        assert env(BROKER_ULR="") == load_settings()

    def test_variables_of_other_programs_are_nothing_to_us(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MY_DEVICE_STATUS_URL", "x")
        monkeypatch.setenv("DEVICE_STATUSES", "x")
        monkeypatch.setenv("DEVICE_STATUS", "x")
        assert load_settings()

    @pytest.mark.parametrize("make", [load_settings, Settings])
    def test_a_keyword_is_refused_with_the_nearest_that_exists(self, make: Any) -> None:
        with pytest.raises(SettingsError) as caught:
            make(broker_ulr="redis://:hunter2@h")
        assert str(caught.value) == "broker_ulr: is not a setting; did you mean broker_url?"

    @pytest.mark.parametrize(
        "name",
        [
            # As Kubernetes makes them (pkg/kubelet/envvars) for the services device-status,
            # device-status-worker and device-status-metrics-2.
            *(f"{service}_SERVICE_HOST" for service in ("DEVICE_STATUS", "DEVICE_STATUS_WORKER")),
            *(f"{service}_SERVICE_PORT" for service in ("DEVICE_STATUS", "DEVICE_STATUS_WORKER")),
            "DEVICE_STATUS_SERVICE_PORT_REDIS_TLS",
            "DEVICE_STATUS_PORT",
            "DEVICE_STATUS_METRICS_2_PORT",
            *(f"DEVICE_STATUS_PORT_6379_TCP{part}" for part in ("", "_PROTO", "_PORT", "_ADDR")),
            "DEVICE_STATUS_WORKER_PORT_53_UDP_ADDR",
            "DEVICE_STATUS_PORT_5000_SCTP",
        ],
    )
    def test_what_kubernetes_tells_pods_of_services_stops_nobody(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(name, "tcp://10.0.0.1:6379")
        assert load_settings()

    @pytest.mark.parametrize("name", ["PORTS", "PORT_6379", "SERVICE", "SERVICE_HOSTS", "PORT_6379_TCP_URL"])
    def test_nothing_else_passes_as_such(self, env: Any, name: str) -> None:
        assert complaint(env, **{name: "x"}).startswith(f"DEVICE_STATUS_{name}: is not a setting")


class TestDurations:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("1", 1),
            ("604800", 604_800),
            (" 60 ", 60),
            ("PT1S", 1),
            ("PT1H30M", 5_400),
            ("P1D", 86_400),
            ("P1DT12H", 129_600),
            ("P2W", 1_209_600),
            ("PT1.5S", 1.5),
        ],
    )
    def test_are_seconds_or_iso_8601(self, env: Any, text: str, seconds: float) -> None:
        short = env(RETENTION=text, ALLOW_SHORT_RETENTION="true")
        assert short.retention.total_seconds() == seconds
        assert env(MAX_AGE=text).max_age.total_seconds() == seconds

    def test_may_be_given_as_such_in_python(self) -> None:
        assert load_settings(retention=timedelta(hours=1)).retention == timedelta(hours=1)
        assert load_settings(retention=7200).retention == timedelta(hours=2)

    def test_below_a_second_is_refused(self, env: Any) -> None:
        assert "RETENTION" in complaint(env, RETENTION="PT0.5S", ALLOW_SHORT_RETENTION="true")


class TestTheShortestRetention:
    @pytest.mark.parametrize("text", ["1", "60", "3599", "PT59M59S", "PT1S"])
    def test_under_an_hour_it_is_refused_in_one_line(self, env: Any, text: str) -> None:
        said = complaint(env, RETENTION=text)
        assert said.startswith("DEVICE_STATUS_RETENTION: is ")
        assert "the rule is at least 3600" in said
        assert "\n" not in said

    @pytest.mark.parametrize("text", ["3600", "PT1H", "P7D"])
    def test_from_an_hour_on_it_is_taken(self, env: Any, text: str) -> None:
        assert env(RETENTION=text).retention >= timedelta(hours=1)

    def test_a_test_may_ask_for_less(self, env: Any) -> None:
        assert env(RETENTION="2", ALLOW_SHORT_RETENTION="1").retention == timedelta(seconds=2)
        assert complaint(env, RETENTION="2", ALLOW_SHORT_RETENTION="0")


class TestWhereTheLedgerIs:
    def test_it_is_the_brokers_redis(self, env: Any) -> None:
        assert env(BROKER_URL="rediss://:pw@h:1/2").ledger == "rediss://:pw@h:1/2"

    @pytest.mark.parametrize("broker", ["amqp://h", "amqps://h"])
    def test_it_must_be_given_where_the_broker_can_not_hold_it(self, env: Any, broker: str) -> None:
        assert complaint(env, BROKER_URL=broker).startswith("DEVICE_STATUS_LEDGER_URL: is not set")

    def test_it_may_be_another_than_the_broker(self, env: Any) -> None:
        settings = env(BROKER_URL="amqp://h", LEDGER_URL="redis://ledger/1")
        assert (settings.broker_url, settings.ledger) == ("amqp://h", "redis://ledger/1")


# A password may hold anything. One with an unescaped / ? # [ is a mistake, but no reason to print it.
WITH_PASSWORD = [
    "redis://:hunter2@h:6379/0",
    "redis://user:hunter2@h:6379/0",
    "rediss://h:6379/0?password=hunter2",
    "redis://:hunter2@@h:6379/0",
    "redis://:a/hunter2@h:6379/0",
    "redis://:hunter2/a@h:6379/0",
    "redis://:hunter2?a@h:6379/0",
    "redis://:hunter2#a@h:6379/0",
    "redis://:a#hunter2@h:6379/0",
    "redis://:[hunter2@h:6379/0",
    "amqp://user:hunter2@h//",
    "amqp://user:x@h1//;amqp://user:hunter2@h2//",
    "sentinel://:x@h1:26379;sentinel://:hunter2@h2:26379",
]


class TestPasswords:
    @pytest.mark.parametrize("url", WITH_PASSWORD)
    def test_a_url_is_shown_without_its_password(self, url: str) -> None:
        assert PASSWORD not in without_password(url)

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
            ("redis://user:hunter2@127.0.0.1:6379/0", "redis://***@127.0.0.1:6379/0"),
            ("rediss://:hunter2@cache.example:6380/1?x=y", "rediss://***@cache.example:6380/1"),
        ],
    )
    def test_what_is_shown_still_tells_the_place(self, url: str, shown: str) -> None:
        assert without_password(url) == shown

    @pytest.mark.parametrize("show", [repr, str])
    def test_shown_settings_hold_none(self, env: Any, show: Any) -> None:
        settings = env(BROKER_URL="redis://:hunter2@h", LEDGER_URL="redis://:hunter2@h")
        assert PASSWORD not in show(settings)

    @pytest.mark.parametrize(
        "variables",
        [
            {"BROKER_URL": "http://:hunter2@h"},
            {"BROKER_URL": "hunter2"},
            {"BROKER_URL": "amqp://:hunter2@h"},
            {"LEDGER_URL": "memcached://:hunter2@h"},
            {"BROKER_URL": "redis://:hunter2@h", "CONCURRENCY": "0"},
            {"UPDATE_QUOTA": "hunter2"},
        ],
        ids=str,
    )
    def test_a_complaint_holds_none(self, env: Any, variables: dict[str, str]) -> None:
        assert PASSWORD not in complaint(env, **variables)

    @pytest.mark.parametrize("name", ["BROKER_URL", "LEDGER_URL"])
    @pytest.mark.parametrize(
        "url",
        [
            "redis://:hunter2/a@h:6379/0",
            "redis://:hunter2#a@h:6379/0",
            "redis://:[hunter2@h:6379/0",
            "redis://:hunter2@h:port/0",
            "redis://:hunter2@h/zero",
            "rediss://:hunter2@h/0x",
            "redis://:hunter2@h/0/1",
            "redis://:hunter2@h/0?socket_timeout=hunter2",
            "redis://:hunter2@h/0?hunter2=1",
        ],
    )
    def test_a_url_that_can_not_be_read_is_a_complaint(self, env: Any, name: str, url: str) -> None:
        text = complaint(env, **{name: url})
        assert f"DEVICE_STATUS_{name}: " in text
        assert PASSWORD not in text
