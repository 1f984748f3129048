"""Members of an incident: what it orders itself, and nothing that somebody else put in their place."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_PRODUCERS: Final = "producers/device_status"
_LUA: Final = f"{_PRODUCERS}/lua"
_CLAIM: Final = f"{_LUA}/claim.lua"
_ENTER: Final = f"{_LUA}/enter.lua"
_MEMBERS: Final = f"{_LUA}/members.lua"
_SHARED: Final = f"{_LUA}/prelude.lua"
_TESTS: Final = "tests/unit/worker/test_incident_members.py"
_RESERVED: Final = f"{_TESTS}::TestReservedIds"
_FORGED: Final = f"{_RESERVED}::test_a_forged_message_is_a_dead_letter_and_never_an_entry"
_SQUATTERS: Final = f"{_TESTS}::TestSquatters"
_GIVES_WAY: Final = f"{_SQUATTERS}::test_whatever_stands_under_a_members_key_gives_way"
_NAMING: Final = f"{_TESTS}::TestNamingAnIncident"
_ANEW: Final = "tests/unit/worker/test_incident_evidence.py::TestOpenedAnew"
_JOINS: Final = (
    "\n  local named = cjson.decode(command).incident_id"
    "\n  local named_life = named and redis.call('HGET', PREFIX .. 'incident:' .. named, 'life')"
    "\n  if named_life then join_incident(entry, named, named_life) end"
)

MUTANTS: Final = (
    Mutant(
        "a message takes an id that is reserved for incidents",
        _CLAIM,
        "if is_reserved(key) or is_reserved(command_id) then",
        "if false then",
        f"{_FORGED}[False-names0]",
    ),
    Mutant(
        "a producer takes an id that is reserved for incidents",
        _ENTER,
        "local reserved = is_reserved(key) or is_reserved(command_id)",
        "local reserved = false",
        f"{_FORGED}[True-names0]",
    ),
    Mutant(
        "a message takes the key of an incident's command under another id",
        _CLAIM,
        "if is_reserved(key) or is_reserved(command_id) then",
        "if is_reserved(command_id) then",
        f"{_FORGED}[False-names1]",
    ),
    Mutant(
        "an id that is reserved for repairs is free",
        _SHARED,
        " or string.find(name, '^repair:')",
        "",
        f"{_FORGED}[False-names3]",
    ),
    Mutant(
        "a producer takes a reserved id without an error",
        f"{_PRODUCERS}/command.py",
        "if getattr(command, name).startswith(RESERVED_PREFIXES):",
        "if False:",
        f"{_RESERVED}::test_a_producer_may_not_use_them[incident:INC-1:0123-command_id]",
    ),
    Mutant(
        "a command whose id is reserved is redriven",
        f"{_LUA}/redrive.lua",
        " or known[3] == 'ReservedId' then",
        " then",
        f"{_FORGED}[False-names0]",
    ),
    Mutant(
        "a command of an incident takes over what a squatter's entry says",
        _MEMBERS,
        "drop(entry, key)",
        "",
        f"{_GIVES_WAY}[succeeded]",
    ),
    Mutant(
        "a squatter's dead letter stays",
        _SHARED,
        "exhume(key)",
        "",
        f"{_GIVES_WAY}[dead_lettered]",
        after="local function drop(",
    ),
    Mutant(
        "a squatter's place in its lane stays",
        _SHARED,
        "close(entry, key)",
        "",
        f"{_GIVES_WAY}[claimed]",
        after="local function drop(",
    ),
    Mutant(
        "a lister of an earlier life adds commands",
        _MEMBERS,
        "if redis.call('HGET', incident, 'life') ~= life then",
        "if false then",
        f"{_SQUATTERS}::test_a_lister_of_an_earlier_life_adds_nothing",
    ),
    Mutant(
        "a command of an earlier life is taken for one of the new",
        _MEMBERS,
        "if known[1] == id and known[2] == life then",
        "if known[1] == id then",
        f"{_ANEW}::test_no_outcome_of_the_earlier_life_is_taken_for_one_of_the_new[0-0]",
    ),
    Mutant(
        "what an earlier life left is part of the new",
        f"{_LUA}/prelude_incident.lua",
        "return incident[1] and incident[1] == known[2] and {",
        "return incident[1] and {",
        f"{_ANEW}::test_a_device_of_the_earlier_life_alone_is_new_to_a_verification",
    ),
    Mutant(
        "a producer's command that names an incident joins it",
        _ENTER,
        "enter(entry, key, command_id, fingerprint, command, lane, now)",
        f"enter(entry, key, command_id, fingerprint, command, lane, now){_JOINS}",
        f"{_NAMING}::test_a_command_that_names_an_incident_is_no_part_of_it",
    ),
    Mutant(
        "a message that names an incident joins it",
        _CLAIM,
        "enter(entry, key, command_id, fingerprint, command, lane, now)",
        f"enter(entry, key, command_id, fingerprint, command, lane, now){_JOINS}",
        f"{_NAMING}::test_it_goes_on_while_the_incident_is_paused_or_cancelled",
    ),
    Mutant(
        "a dead letter that names an incident counts as the incident's",
        f"{_PRODUCERS}/dead_letters.py",
        'incident_id=fields.get("incident") or None,',
        'incident_id=fields.get("incident") or (command.incident_id if command else None),',
        f"{_NAMING}::test_its_dead_letter_is_not_redriven_with_the_incidents",
    ),
)
