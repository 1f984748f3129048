"""What counts as an answer of AWS, what is in doubt without one, and how long a call may take."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_ANSWERS: Final = "worker/device_status_worker/answers.py"
_ERRORS: Final = "worker/device_status_worker/failures.py"
_BOUNDED: Final = "worker/device_status_worker/bounded_http.py"
_DEADLINES: Final = "worker/device_status_worker/deadlines.py"
_BY_STATUS: Final = (
    "tests/unit/worker/test_failures_promises.py::TestEveryAnswerOfAws::"
    "test_an_unknown_error_code_goes_by_its_http_status"
)
_IN_TIME: Final = "tests/unit/worker/test_bounded_http.py"
_TESTS: Final = "tests/unit/worker/test_answers.py"
_COUNTS: Final = f"{_TESTS}::TestWhatCounts"

MUTANTS: Final = (
    Mutant(
        "429 is a dead letter",
        _ANSWERS,
        "(HTTPStatus.TOO_MANY_REQUESTS, 509)",
        "(509,)",
        f"{_BY_STATUS}[429]",
    ),
    Mutant(
        "an unknown 4xx is tried again",
        _ANSWERS,
        "return Action.DEAD_LETTER",
        "return Action.RETRY",
        f"{_BY_STATUS}[404]",
        after="def _by_status",
    ),
    Mutant(
        "an unknown 5xx is a dead letter",
        _ANSWERS,
        "return Action.RETRY",
        "return Action.DEAD_LETTER",
        f"{_BY_STATUS}[502]",
        after="def _by_status",
    ),
    Mutant(
        "what anybody answers counts as AWS's answer",
        _ANSWERS,
        'request_id if media_type == MEDIA_TYPE and _REQUEST_ID.fullmatch(request_id) else ""',
        'request_id or "somebody"',
        f"{_COUNTS}::test_without_the_marks_of_aws_nothing_is_one",
    ),
    Mutant(
        "a proxy says that a command can't succeed",
        _ANSWERS,
        "if code and request_id:",
        "if code:",
        "tests/unit/worker/test_failures.py::"
        "test_what_something_else_answers_is_never_the_commands_fault_and_leaves_doubt"
        "[400-Action.BACK_OFF-JSON with a code]",
    ),
    Mutant(
        "a body that does not parse is a success",
        _ANSWERS,
        'return "" if is_empty or content == {} else "the body is not an empty JSON object"',
        'return ""',
        f"{_COUNTS}::test_a_body_that_does_not_parse_is_none",
    ),
    Mutant(
        "an answer without its list is an empty list",
        _ANSWERS,
        'return f"{member} is missing"',
        'return ""',
        f"{_COUNTS}::test_a_list_without_its_members_is_none",
    ),
    Mutant(
        "a failure of the service leaves no doubt",
        _ANSWERS,
        "in_doubt=action is Action.RETRY or not request_id",
        "in_doubt=False",
        f"{_TESTS}::TestDoubt::test_whatever_may_have_reached_aws_is_in_doubt",
    ),
    Mutant(
        "an answer that does not end holds its thread",
        _DEADLINES,
        "_deadline.at = min(outer, time.monotonic() + seconds)",
        "pass",
        "tests/unit/worker/test_bounded_http.py::"
        "test_an_answer_that_does_not_end_is_given_up_at_the_deadline",
    ),
    Mutant(
        "an answer that drips holds its thread",
        _DEADLINES,
        "self.settimeout(_time_left(self.gettimeout()))",
        "pass",
        f"{_IN_TIME}::test_an_answer_that_does_not_end_is_given_up_at_the_deadline[drips]",
        after="class _Socket(",
    ),
    Mutant(
        "an answer that drips in TLS holds its thread",
        _DEADLINES,
        "self.settimeout(_time_left(self.gettimeout()))",
        "pass",
        f"{_IN_TIME}::TestTls::test_an_answer_that_drips_is_given_up_at_the_deadline",
        after="class TlsSocket(",
    ),
    Mutant(
        "an answer that drips in the TLS of a proxy holds its thread",
        _DEADLINES,
        "self.settimeout(_time_left(self.gettimeout()))",
        "pass",
        f"{_IN_TIME}::TestTls::test_one_that_drips_through_a_proxy_is_given_up_too",
        after="# Where TLS runs inside the TLS of a proxy.",
    ),
    Mutant(
        "an answer of any length is read",
        _BOUNDED,
        "response.read(limit + 1)",
        "response.read()",
        f"{_IN_TIME}::test_no_more_is_read_than_the_limit[announced]",
    ),
    Mutant(
        "a request whose time is over is sent",
        _DEADLINES,
        "            _time_left(None)",
        "            pass",
        f"{_IN_TIME}::test_a_request_whose_time_is_over_is_not_sent_over_a_kept_connection_either",
    ),
    Mutant(
        "a request whose connection broke is taken for one that never left",
        _ERRORS,
        "in_doubt=error.may_have_left",
        "in_doubt=False",
        "tests/unit/worker/test_handle.py::TestFaultsOfTheService::"
        "test_a_request_without_an_answer_casts_doubt_on_what_follows",
    ),
)
