"""What the checkers of a service see is what the package takes: no field more, none less."""

from __future__ import annotations

from typing import get_args

import pytest

from device_status import CommandFields, DeviceStatusCommand, Lane, LaneName, Settings, Status, StatusName
from device_status.settings import SettingsFields


def test_the_fields_of_a_command_are_those_of_the_contract() -> None:
    assert set(CommandFields.__annotations__) == set(DeviceStatusCommand.model_fields)
    required = {name for name, field in DeviceStatusCommand.model_fields.items() if field.is_required()}
    assert CommandFields.__required_keys__ == required


def test_the_keywords_of_the_settings_are_the_settings() -> None:
    assert set(SettingsFields.__annotations__) == set(Settings.model_fields)


@pytest.mark.parametrize(("texts", "names"), [(StatusName, Status), (LaneName, Lane)])
def test_the_texts_of_a_name_are_all_of_its_values(texts: object, names: type[Status] | type[Lane]) -> None:
    assert get_args(texts) == tuple(name.value for name in names)
