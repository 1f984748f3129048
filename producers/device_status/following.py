"""Connections to Redis that leave a server which can't serve, so that an endpoint that moves is followed."""

from __future__ import annotations

from functools import cache
from typing import Any

import redis

from device_status.server_states import said, state_of


@cache
def following(connection_class: type) -> type:
    """A connection class of redis-py, made to follow."""
    return type(f"Following{connection_class.__name__}", (_Following, connection_class), {})


class _Following:
    """Mixed into a connection of redis-py: one that leads to a server which can't serve is dropped.

    The next attempt looks up the host's name again. Without it, clients stay with a demoted primary for as
    long as that keeps their connections, while the name leads to the new one.
    """

    def connect(self) -> None:
        """As redis-py's; whatever else goes wrong on the way is a `redis.ConnectionError` too."""
        try:
            super().connect()  # type: ignore[misc]
        except (redis.RedisError, OSError):
            raise
        except Exception as error:
            # Such as UnicodeError, for a host name that DNS can't hold.
            raise redis.ConnectionError(f"it can't be connected to ({type(error).__name__})") from error

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """As redis-py's; such an answer raises `redis.ConnectionError`, after which it connects again."""
        try:
            return super().read_response(*arguments, **options)  # type: ignore[misc]
        except redis.ResponseError as error:
            state = state_of(error)
            if state is None or not state.elsewhere:
                raise
            self.disconnect()  # type: ignore[attr-defined]
            raise redis.ConnectionError(f"{state.code} {said(error)}") from error
        except Exception as error:
            is_known = isinstance(error, (redis.RedisError, OSError))
            if is_known and not isinstance(error, redis.InvalidResponse):
                raise
            # redis-py's parser met what is not Redis's protocol; what follows can't be told apart.
            self.disconnect()  # type: ignore[attr-defined]
            raise redis.ConnectionError(f"its answer is not one of Redis ({type(error).__name__})") from error
