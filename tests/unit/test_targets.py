"""Promises about other AWS accounts: which pool is whose, how fast, and what a mistake is told as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from device_status import Settings, SettingsError, load_settings
from device_status.ledger import gate_key
from device_status.targets import OWN_ACCOUNT, Quotas

ROLE = "arn:aws:iam::222222222222:role/device-status"


def settings(targets: Any) -> Settings:
    text = targets if isinstance(targets, str) else json.dumps(targets)
    return load_settings(broker_url="redis://h", targets=text, update_quota=20)


def test_without_any_all_pools_are_of_the_workers_own_account() -> None:
    target = settings("").target("eu-west-1_Ab12")
    assert (target.account, target.region, target.role_arn) == (OWN_ACCOUNT, "eu-west-1", "")
    assert target.quotas == Quotas(update=20, read=50, list_users=30)


def test_the_first_pattern_that_fits_names_the_account_and_what_it_leaves_out_is_the_default() -> None:
    found = settings(
        {
            "eu-west-1_Ab*": {"role_arn": ROLE, "update_quota": 5},
            "eu-*": {"role_arn": ROLE.replace("2", "3"), "read_quota": 90},
        }
    )
    first, second, own = (
        found.target(f"{name}12") for name in ("eu-west-1_Ab", "eu-north-1_Ab", "us-east-1_Ab")
    )
    assert (first.account, first.role_arn) == ("222222222222", ROLE)
    assert first.quotas == Quotas(update=5, read=50, list_users=30)
    assert (second.account, second.quotas.read) == ("333333333333", 90)
    assert own.account == OWN_ACCOUNT


def test_accounts_and_regions_have_gates_of_their_own_and_the_pools_of_one_share_it() -> None:
    found = settings({"*_Ab*": {"role_arn": ROLE}})
    pools = ["eu-west-1_Ab1", "eu-west-1_Ab2", "us-east-1_Ab1", "eu-west-1_X"]
    keys = [gate_key(found.target(pool), "UserResourceUpdate") for pool in pools]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_an_account_may_have_other_quotas_in_another_region() -> None:
    found = settings({"a-1_*": {"role_arn": ROLE, "read_quota": 5}, "a-2_*": {"role_arn": ROLE}})
    assert [found.target(pool).quotas.read for pool in ("a-1_X", "a-2_X")] == [5, 50]


def test_they_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    file.write_text(json.dumps({"*": {"role_arn": ROLE}}))
    assert settings(str(file)).target("eu-west-1_Ab12").role_arn == ROLE


@pytest.mark.parametrize(
    ("targets", "text"),
    [
        ("/nonexistent", "neither JSON nor a file that can be read"),
        ("{", "is no JSON; it must be as"),
        ({"*": {}}, "*.role_arn: "),
        ({"*": {"role_arn": "device-status"}}, "*.role_arn: "),
        ({"*": {"role_arn": ROLE, "update_quota": 0}}, "*.update_quota: "),
        ({"*": {"role_arn": ROLE, "quota": 5}}, "*.quota: "),
        ({"*": ROLE}, "*: "),
        ({"a-1_A*": {"role_arn": ROLE, "read_quota": 5}, "a-1_*": {"role_arn": ROLE}}, "the same quotas"),
        ({"a-1_A*": {"role_arn": ROLE, "read_quota": 5}, "*": {"role_arn": ROLE}}, "the same quotas"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_that_names_it(targets: Any, text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        settings(targets)
    assert str(raised.value).startswith("DEVICE_STATUS_TARGETS: ")
    assert text in str(raised.value)
    assert "\n" not in str(raised.value)
