"""Messages: what is no command is kept, what is one is handled or given back."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_WORKER: Final = "worker/device_status_worker"
_INTAKE: Final = f"{_WORKER}/intake.py"
_RECEIVE: Final = f"{_WORKER}/receive.py"
_TRANSPORT: Final = f"{_WORKER}/transport.py"
_CONSUMER: Final = f"{_WORKER}/consumer.py"
_RECEPTION: Final = f"{_WORKER}/reception.py"
_RETURN: Final = f"{_WORKER}/lua/message_return.lua"
_TESTS: Final = "tests/unit/worker/test_intake.py"
_CHECKS: Final = f"{_TESTS}::TestChecks"
_CELERY: Final = f"{_CHECKS}::test_a_message_that_celery_cannot_run_has_a_problem"
_KOMBU: Final = f"{_CHECKS}::test_an_envelope_that_kombu_cannot_read_has_a_problem"
_LIMITS: Final = "tests/unit/worker/test_intake_promises.py::TestLimits"
_BURIAL: Final = f"{_TESTS}::TestBurial"
_READING: Final = "tests/unit/worker/test_transport.py::TestReading"
_RECEIVING: Final = "tests/unit/worker/test_receive.py"
_BACK: Final = f"{_RECEIVING}::TestGivingBack"

MUTANTS: Final = (
    Mutant(
        "a task that nobody knows reaches Celery",
        _INTAKE,
        "if task not in _KEYWORDS:",
        "if False:",
        f"{_CELERY}[unknown task]",
    ),
    Mutant(
        "a message with an ETA waits in a worker's memory",
        _INTAKE,
        "if headers.get(name) is not None:",
        "if False:",
        f"{_CELERY}[good eta]",
    ),
    Mutant(
        "a message without an id reaches Celery",
        _INTAKE,
        "if not isinstance(task_id, str) or not 0 < len(task_id) <= 256 or not task_id.isprintable():",
        "if False:",
        f"{_CELERY}[no id]",
    ),
    Mutant(
        "a body of any size is read",
        _INTAKE,
        "if len(body) > MOST_BODY:",
        "if False:",
        f"{_CHECKS}::test_sizes_are_bounded_to_the_byte",
    ),
    Mutant(
        "a body of any depth is read",
        _INTAKE,
        "return levels == 0 or any(",
        "return any(",
        f"{_LIMITS}::test_a_body_may_nest_16_levels_and_not_17",
    ),
    Mutant(
        "a message makes the worker publish another",
        _INTAKE,
        "and not any(embedded.values())",
        "",
        f"{_LIMITS}::test_nothing_that_celery_would_run_after_the_task_is_accepted",
    ),
    Mutant(
        "bad base64 stops the worker",
        _INTAKE,
        'if encoding == "base64":',
        "if False:",
        f"{_KOMBU}[bad base64]",
    ),
    Mutant(
        "messages of one tag are kept once",
        _TRANSPORT,
        'properties["delivery_tag"] = str(uuid.uuid4())',
        "",
        f"{_READING}::test_two_messages_of_one_tag_are_kept_until_each_is_acknowledged",
    ),
    Mutant(
        "a message that comes again is another one",
        _TRANSPORT,
        'properties.setdefault("sent_tag", properties["delivery_tag"])',
        'properties["sent_tag"] = properties["delivery_tag"]',
        f"{_READING}::test_a_message_that_comes_again_still_says_what_its_sender_called_it",
    ),
    Mutant(
        "an envelope without a delivery tag stops the worker",
        _INTAKE,
        "if not isinstance(tag, str) or not tag or not tag.isprintable():",
        "if False:",
        f"{_KOMBU}[no delivery tag]",
    ),
    Mutant(
        "a message that comes again is another dead letter",
        _INTAKE,
        "place = place or str(uuid.uuid4())",
        "place = str(uuid.uuid4())",
        f"{_BURIAL}::test_a_message_that_is_delivered_twice_is_buried_once",
    ),
    Mutant(
        "two bad commands of one message are one dead letter",
        _RECEIVE,
        'f"{message_id}/{index}"',
        'f"{message_id}"',
        f"{_LIMITS}::test_two_of_a_message_that_are_alike_are_two_dead_letters_however_often_it_comes",
    ),
    Mutant(
        "a dead letter holds a message of any size",
        _INTAKE,
        "raw[:MOST_RAW]",
        "raw",
        f"{_BURIAL}::test_raw_bytes_are_bounded_and_the_reason_says_so",
    ),
    Mutant(
        "a command of another version is read as one of ours",
        _INTAKE,
        "if type(version) is int and version != SCHEMA_VERSION:",
        "if False:",
        f"{_LIMITS}::test_a_command_of_another_version_is_kept_under_a_code_of_its_own",
    ),
    Mutant(
        "an unreadable message is deleted while the ledger is away",
        _TRANSPORT,
        "popped.give_back(self)",
        "popped.is_safe()",
        f"{_READING}::test_while_the_ledger_is_away_the_message_stays_first_in_its_queue",
        after="except DeviceStatusError as error:",
    ),
    Mutant(
        "an unreadable message goes behind the backlog while the ledger is away",
        _RETURN,
        "'RPUSH'",
        "'LPUSH'",
        f"{_READING}::test_while_the_ledger_is_away_the_message_stays_first_in_its_queue",
    ),
    Mutant(
        "a message says itself where it came from",
        _TRANSPORT,
        'properties["delivery_info"] = {"exchange": "", "routing_key": queue}',
        "pass",
        f"{_READING}::test_a_message_says_where_it_came_from_and_nothing_else_does",
    ),
    Mutant(
        "a compressed message is unpacked whatever its size",
        _TRANSPORT,
        "compression._decoders.clear()",
        "pass",
        f"{_READING}::test_nothing_that_is_compressed_is_unpacked",
    ),
    Mutant(
        "a bad message is acknowledged and not kept",
        _RECEPTION,
        "process.intake().bury(code, reason, raw, queue, place)",
        "pass",
        f"{_TESTS}::test_a_connection_lost_while_a_bad_message_is_acknowledged_ends_no_worker",
    ),
    Mutant(
        "what kombu can't unpack is dropped",
        _CONSUMER,
        'self._reception.bury(message, "MalformedMessage", reason)',
        "pass",
        f"{_TESTS}::test_a_connection_lost_while_a_bad_message_is_acknowledged_ends_no_worker",
    ),
    Mutant(
        "a message goes back by a transaction that never ends while Redis refuses",
        f"{_WORKER}/transport.py",
        "    def restore_by_tag(",
        "    def restore_by_a_script(",
        "tests/unit/worker/test_transport.py::TestRefused::test_giving_back_ends_though_redis_refuses_and_works_later[NOREPLICAS]",
    ),
    Mutant(
        "what was acknowledged comes again",
        f"{_WORKER}/lua/message_restore.lua",
        "redis.call('HDEL', KEYS[2], ARGV[1]) == 1",
        "redis.call('HDEL', KEYS[2], ARGV[1]) >= 0",
        "tests/unit/worker/test_transport.py::TestRefused::test_what_was_acknowledged_meanwhile_does_not_come_again",
    ),
    Mutant(
        "a full broker takes back nothing that was delivered",
        f"{_WORKER}/lua/message_restore.lua",
        "redis.call('ZREM', KEYS[1], ARGV[1])",
        "redis.call('LPUSH', KEYS[3], ARGV[2])",
        "tests/unit/worker/test_transport.py::TestRefused::test_a_full_broker_takes_back_what_was_delivered",
    ),
    Mutant(
        "a worker that ends tries once to give back what it popped",
        f"{_WORKER}/transport.py",
        "if time.monotonic() < give_up_at:",
        "if False:",
        "tests/unit/worker/test_transport.py::TestRefused::test_a_process_that_ends_gives_it_back_as_soon_as_redis_takes_it",
    ),
    Mutant(
        "a message of RabbitMQ has another name at each delivery",
        _RECEPTION,
        'if not str(name).startswith("x-")',
        "",
        f"{_TESTS}::test_on_rabbitmq_too_a_message_that_comes_again_is_buried_once",
    ),
    Mutant(
        "messages of RabbitMQ with the same body are one, whatever their headers",
        _RECEPTION,
        "[properties, headers]",
        "[]",
        f"{_TESTS}::test_on_rabbitmq_too_a_message_that_comes_again_is_buried_once",
    ),
    Mutant(
        "a worker that ends hands on what it has",
        f"{_WORKER}/consumer.py",
        "            self._reception.close()\n        super().stop()",
        "            pass\n        super().stop()",
        f"{_TESTS}::test_a_worker_that_ends_begins_nothing_of_what_it_has",
    ),
    Mutant(
        "a message of a lost connection is buried, and once more when it comes again",
        _RECEPTION,
        "self._is_open = False",
        "pass",
        f"{_TESTS}::test_what_a_lost_connection_delivered_is_neither_buried_nor_acknowledged",
    ),
    Mutant(
        "a connection that RabbitMQ closes at its start is taken for a good one",
        _CONSUMER,
        "suppress(TimeoutError, BlockingIOError)",
        "suppress(Exception)",
        "tests/unit/worker/test_consumer.py::test_a_connection_closed_while_the_loop_begins_is_noticed",
    ),
    Mutant(
        "a worker that stops works on",
        _RECEIVE,
        "if self._stop.is_set() or ",
        "if ",
        f"{_BACK}::test_a_worker_that_stops_gives_the_rest_back",
    ),
    Mutant(
        "a message keeps its thread for as long as it likes",
        _RECEIVE,
        " or time.monotonic() > give_back_at:",
        ":",
        f"{_BACK}::test_what_exceeds_the_budget_goes_to_the_end_of_the_queue",
    ),
    Mutant(
        "what is given back is lost",
        _RECEIVE,
        "enter_and_publish(self._worker.ledger, self._worker.publisher, given, lane)",
        "pass",
        f"{_BACK}::test_an_idle_thread_gets_half",
    ),
    Mutant(
        "a bug in one command stops the others of its message",
        _RECEIVE,
        "except Exception as error:",
        "except OSError as error:",
        f"{_RECEIVING}::TestHandling::test_a_bug_in_one_does_not_touch_the_others_nor_tell_what_it_saw",
    ),
)
