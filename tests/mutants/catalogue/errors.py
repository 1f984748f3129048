"""Errors: whatever goes wrong is a DeviceStatusError, and says whether the call may be repeated."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_TESTS: Final = "tests/integration/test_errors.py"
_GIVEN: Final = f"{_TESTS}::TestWhateverIsGiven"
_ANSWERED: Final = f"{_TESTS}::TestWhateverIsAnswered"
_COMMAND: Final = "producers/device_status/command.py"
_PRODUCER: Final = "producers/device_status/producer.py"
_SCRIPTS: Final = "producers/device_status/scripts.py"

_SETTINGS: Final = "producers/device_status/settings.py"
_NAMES: Final = "tests/unit/test_settings.py::TestUnknownNames"

MUTANTS: Final = (
    Mutant(
        "what the broker's libraries stumble over comes through",
        "producers/device_status/publisher.py",
        "except Exception as error:",
        "except _BROKER_ERRORS as error:",
        f"{_ANSWERED}::test_by_a_broker",
    ),
    Mutant(
        "a host name that can't exist is a UnicodeError",
        "producers/device_status/following.py",
        "        except Exception as error:\n            # Such as",
        "        except KeyError as error:\n            # Such as",
        f"{_ANSWERED}::test_of_a_host_that_has_no_address",
    ),
    Mutant(
        "an entry of another version is a ValueError",
        _SCRIPTS,
        "except (KeyError, ValueError) as error:",
        "except KeyError as error:",
        f"{_ANSWERED}::test_by_a_ledger_that_another_version_wrote",
    ),
    Mutant(
        "half a character is a UnicodeEncodeError",
        _SCRIPTS,
        "except UnicodeEncodeError:",
        "except UnicodeDecodeError:",
        f"{_GIVEN}::test_as_half_a_character",
    ),
    Mutant(
        "a command that model_copy made is taken unchecked",
        _PRODUCER,
        "parse_command(dict(command) if isinstance(command, DeviceStatusCommand) else command)",
        "command if isinstance(command, DeviceStatusCommand) else parse_command(command)",
        f"{_GIVEN}::test_as_fields",
    ),
    Mutant(
        "the class of commands raises pydantic's error",
        _COMMAND,
        "except ValidationError as error:",
        "except KeyError as error:",
        f"{_GIVEN}::test_to_the_class_of_commands",
        after="            super().__init__(**fields)",
    ),
    Mutant(
        "a lane that does not exist is a ValueError",
        _COMMAND,
        "        return names(name)\n    except ValueError:",
        "        return names(name)\n    except KeyError:",
        f"{_GIVEN}::test_as_a_lane",
    ),
    Mutant(
        "a misspelled variable is ignored",
        _SETTINGS,
        "if is_ours and rest not in Settings.model_fields:",
        "if False:",
        f"{_NAMES}::test_a_variable_is_refused_with_the_nearest_that_exists",
    ),
    Mutant(
        "a misspelled keyword is ignored",
        _SETTINGS,
        "for name in keywords if name not in Settings.model_fields",
        "for name in keywords if False",
        f"{_NAMES}::test_a_keyword_is_refused_with_the_nearest_that_exists",
    ),
    Mutant(
        "a service of Kubernetes stops its neighbours",
        _SETTINGS,
        " and not _OF_KUBERNETES.fullmatch(name)",
        "",
        f"{_NAMES}::test_what_kubernetes_tells_pods_of_services_stops_nobody",
    ),
    Mutant(
        "whatever begins as a variable of Kubernetes passes",
        _SETTINGS,
        "_OF_KUBERNETES.fullmatch(name)",
        "_OF_KUBERNETES.match(name)",
        f"{_NAMES}::test_nothing_else_passes_as_such",
    ),
    Mutant(
        "a producer that is closed leaves its connections to the broker",
        _PRODUCER,
        "        self._publisher.close()\n",
        "",
        "tests/integration/test_producer_lifetime.py::TestClosing::"
        "test_no_connection_is_left_and_it_may_be_closed_again",
    ),
)
