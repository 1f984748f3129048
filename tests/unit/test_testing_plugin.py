"""pytest finds the fixtures by itself, and a run that does not use them pays nothing."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

SERVICE = """
import device_status
from device_status import Producer as AnyName

producer = AnyName()

def forget(username, **fields):
    return producer.enqueue(
        user_pool_id="eu-west-1_Ab12Cd34E", username=username, device_key="eu-west-1_0",
        status="not_remembered", **fields,
    )

def forget_with_a_new_producer(username):
    fields = {"user_pool_id": "eu-west-1_Ab12Cd34E", "username": username, "device_key": "eu-west-1_0"}
    return device_status.Producer().enqueue(fields | {"status": "not_remembered"})
"""


@pytest.fixture(autouse=True)
def service(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's project, with settings that lead to a server which nobody may reach."""
    monkeypatch.setenv("DEVICE_STATUS_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(service=SERVICE)


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    """A run of pytest of its own, as from a shell, for a file with these tests."""
    pytester.makepyfile(test_service=source)
    return pytester.runpytest_subprocess("-p", "no:randomly", "-p", "no:cacheprovider", *options)


def test_is_found_without_configuration(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        import service

        def test_a_producer_made_before(device_status_producer):
            service.forget("ada", lane="urgent")
            service.forget_with_a_new_producer("grace")
            assert [each.command.username for each in device_status_producer.sent] == ["ada", "grace"]
            assert [each.lane for each in device_status_producer.sent] == ["urgent", "routine"]

        def test_tests_share_nothing(device_status_producer, device_status_incidents):
            assert device_status_producer.sent == []
            assert device_status_incidents.opened == []
        """,
    )
    done.assert_outcomes(passed=2)


def test_is_explained_by_pytest(pytester: pytest.Pytester) -> None:
    done = pytester.runpytest_subprocess("--fixtures", "-p", "no:cacheprovider")
    done.stdout.fnmatch_lines_random(
        [
            "device_status_producer *",
            "device_status_incidents *",
            "*Every `Producer` of this test enqueues here*",
        ]
    )


def test_imports_nothing_that_a_run_does_not_use(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        import sys

        def test_it(request):
            assert request.config.pluginmanager.has_plugin("device_status")
            ours = [name for name in sys.modules if "device_status" in name]
            assert ours == ["pytest_device_status"]
            assert not {"kombu", "redis", "pydantic"} & set(sys.modules)
        """,
    )
    done.assert_outcomes(passed=1)


def test_is_undone_after_the_test(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        import os

        import pytest
        import service
        from device_status import LedgerUnavailableError, Producer, load_settings

        def test_fake(device_status_producer):
            assert load_settings().broker_url == "redis://device-status.invalid:6379/0"
            service.forget("ada")

        def test_real():
            assert os.environ["DEVICE_STATUS_BROKER_URL"] == "redis://127.0.0.1:1/0"
            assert "DEVICE_STATUS_LEDGER_URL" not in os.environ
            assert load_settings().broker_url == "redis://127.0.0.1:1/0"
            with pytest.raises(LedgerUnavailableError):
                service.forget("ada")
        """,
    )
    done.assert_outcomes(passed=2)


def test_is_undone_after_a_test_that_fails(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        import pytest
        import service
        from device_status import LedgerUnavailableError

        def test_fake(device_status_producer):
            raise RuntimeError

        def test_real():
            with pytest.raises(LedgerUnavailableError):
                service.forget("ada")
        """,
    )
    done.assert_outcomes(passed=1, failed=1)


def test_can_be_switched_off(pytester: pytest.Pytester) -> None:
    done = run(pytester, "def test_it(device_status_producer): pass", "-p", "no:device_status")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*fixture 'device_status_producer' not found*"])


def test_works_with_tests_in_processes_and_in_asyncio(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        import asyncio
        import service

        def test_one(device_status_producer):
            service.forget("ada")
            device_status_producer.assert_enqueued(count=1)

        def test_two(device_status_producer):
            fields = {"user_pool_id": "eu-west-1_Ab12Cd34E", "username": "u", "device_key": "eu-west-1_0"}
            asyncio.run(service.producer.aenqueue(fields | {"status": "remembered"}))
            device_status_producer.assert_enqueued(count=1, status="remembered")
        """,
        "-n",
        "2",
    )
    done.assert_outcomes(passed=2)
