"""Notices of an incident's end: one worker sends each, until it is taken, and signs it."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_LUA: Final = "producers/device_status/lua"
_NOTICE: Final = f"{_LUA}/webhook.lua"
_NOTICE_SETTLED: Final = f"{_LUA}/webhook_settle.lua"
_NOTIFIER: Final = "worker/device_status_worker/notifier.py"
_ANSWERS: Final = "tests/unit/worker/test_notifier.py"
_NOTICES: Final = "tests/unit/worker/test_notifier_promises.py::TestNotices"

MUTANTS: Final = (
    Mutant(
        "two workers send one notice",
        _NOTICE,
        "redis.call('ZADD', PREFIX .. 'webhooks', now + ARGV[1], due[1])",
        "",
        f"{_NOTICES}::test_one_that_a_dead_worker_had_is_sent_by_another_after_its_lease",
    ),
    Mutant(
        "a notice that was refused is forgotten",
        _NOTICE_SETTLED,
        "if ARGV[3] == 'retry' then",
        "if false then",
        f"{_NOTICES}::test_one_that_was_refused_is_sent_again_with_the_same_id",
    ),
    Mutant(
        "a receiver's answer takes memory without a limit",
        _NOTIFIER,
        "limit=MOST_ANSWER,",
        "limit=1 << 30,",
        f"{_ANSWERS}::test_an_answer_without_an_end_is_read_to_64_kib_and_no_further",
    ),
    Mutant(
        "a receiver's answer takes time without a limit",
        _NOTIFIER,
        "seconds=TIMEOUT,",
        "seconds=3600,",
        f"{_ANSWERS}::test_an_answer_that_drips_holds_the_notice_no_longer_than_the_deadline",
    ),
    Mutant(
        "a notice that was sent elsewhere counts as delivered",
        _NOTIFIER,
        "200 <= status < 300",
        "200 <= status < 400",
        f"{_ANSWERS}::test_any_other_is_none[302 Found\\r\\nLocation: /]",
    ),
    Mutant(
        "a recorded notice can be sent again later",
        _NOTIFIER,
        'f"{timestamp}.".encode() + body',
        "body",
        f"{_NOTICES}::test_a_notice_is_signed_over_its_time_and_body",
    ),
)
