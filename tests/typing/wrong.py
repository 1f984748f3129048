"""Mistakes that a type checker must find: each on a line of its own that ends with the word error."""

from __future__ import annotations

from device_status import CommandFields, Incidents, Producer, load_settings

POOL = "eu-west-1_Ab12Cd34E"
KEY = "eu-west-1_6f1c2b3a-0000-4000-8000-000000000001"


def enqueue(producer: Producer, fields: CommandFields, text: str) -> None:
    producer.enqueue(user_pool_id=POOL, username="ada", device_key=KEY, status="forgotten")  # error
    producer.enqueue(user_pool_id=POOL, username="ada", device_key=KEY, status=text)  # error
    producer.enqueue(user_pool_id=POOL, user_name="ada", device_key=KEY, status="remembered")  # error
    producer.enqueue(user_pool_id=POOL, username="ada", status="remembered")  # error
    producer.enqueue(**fields, issued_at=1)  # error
    producer.enqueue(**fields, lane="express")  # error
    producer.enqueue(fields, lane=text)  # error
    producer.enqueue("ada")  # error
    producer.enqueue(fields, status="remembered")  # error
    producer.enqueue()  # error


def others(producer: Producer, fields: CommandFields) -> None:
    producer.enqueue_many([fields], lane="fast")  # error
    producer.enqueue_many(fields)  # error
    producer.lookup(1)  # error
    print(producer.lookup("evt-1").state)  # error
    Incidents().open("INC-1", user_pool_id=POOL, users=["ada"], status="forgotten")  # error
    wrong: CommandFields = {"user_pool_id": POOL, "username": "ada", "status": "remembered"}  # error
    print(wrong)


async def from_asyncio(producer: Producer, fields: CommandFields) -> None:
    await producer.aenqueue(**fields, lane="express")  # error
    await producer.aenqueue(user_pool_id=POOL, username="ada", device_key=KEY, status="forgotten")  # error
    await producer.aenqueue_many([fields], lane="express")  # error
    print(producer.aenqueue(**fields).upper())  # error


def settings() -> None:
    Producer("redis://127.0.0.1:6379/0")  # error
    Producer(url="redis://127.0.0.1:6379/0")  # error
    Producer(broker_url=None)  # error
    load_settings(broker="redis://127.0.0.1:6379/0")  # error
    load_settings(update_quota="many")  # error
