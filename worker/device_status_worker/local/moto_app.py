"""moto's own server app, called without a socket: for every operation that is not ours."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from .pools import MOTO_LOCK
from .wire import CONTENT_TYPE, Response, error_response

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_OURS = frozenset({"content-length", "content-type", "connection", "date", "server", "x-amzn-requestid"})

logger = logging.getLogger(__name__)


class MotoApp:
    """Answers one request at a time, since moto is not made for threads."""

    def __call__(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        """moto's answer; `UnknownOperationException` for what moto lacks, and a 500 for a fault in moto."""
        from werkzeug.test import EnvironBuilder, run_wsgi_app  # noqa: PLC0415 (moto is loaded on first use)

        request = EnvironBuilder(path=path, method=method, headers=list(headers.items()), data=body)
        try:
            with MOTO_LOCK:
                chunks, status, answered = run_wsgi_app(self._app, request.get_environ())
                content = b"".join(chunks)
        except NotImplementedError:
            return error_response("UnknownOperationException", "moto does not have this operation.")
        except Exception:
            logger.exception("moto failed")
            return error_response("InternalErrorException", "moto failed; the log says how.", 500)
        # What belongs to the connection is for our server to say; so is the request id, which our log has.
        kept = tuple((name, value) for name, value in answered.items() if name.lower() not in _OURS)
        content_type = answered.get("Content-Type", CONTENT_TYPE)
        return Response(int(status.split()[0]), content, content_type, kept)

    @cached_property
    def _app(self) -> WSGIApplication:
        from moto.moto_server.werkzeug_app import (  # noqa: PLC0415
            DomainDispatcherApplication,
            create_backend_app,
        )

        return DomainDispatcherApplication(create_backend_app)
