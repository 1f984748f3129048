"""Promises about dead letters that outlive what they were in conflict with."""

from __future__ import annotations

import pytest

from device_status import DeadLetters, Lane, Settings
from device_status.dead_letters import NotRedrivableError
from device_status.ledger import Ledger
from device_status.outcomes import Claimed, Conflict
from support import device, make_command
from support.clock import let_time_pass

DAY = 24 * 3600


class TestConflicts:
    def test_one_is_not_redriven_even_when_the_command_that_held_its_key_is_forgotten(
        self, ledger: Ledger, settings: Settings
    ) -> None:
        claim = ledger.claim(make_command(idempotency_key="one"), Lane.ROUTINE)
        assert isinstance(claim, Claimed)
        ledger.succeed(claim, "r")
        let_time_pass(ledger.redis, 6 * DAY)
        other = make_command(idempotency_key="one", device_key=device(2))
        assert ledger.claim(other, Lane.ROUTINE) == Conflict()
        let_time_pass(ledger.redis, 2 * DAY)
        assert ledger.lookup(claim.command.command_id) is None
        letters = DeadLetters(settings)
        (letter,) = letters.list()
        with pytest.raises(NotRedrivableError, match="send it anew with another key"):
            letters.redrive(letter.id)
        assert [each.id for each in letters.list()] == [letter.id]
        assert letters.count_by_error() == {"IdempotencyConflict": 1}
