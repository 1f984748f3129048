"""botocore's requests, sent by `bounded_http`: in bounded time, of bounded size.

botocore prepares and signs a request, and its public event `before-send` lets a handler send it. Trust and
proxies are found as botocore finds them.
"""

from __future__ import annotations

import io
import os
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlsplit

import botocore.session
import urllib3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import EndpointConnectionError, InvalidConfigError
from botocore.httpsession import ProxyConfiguration, get_cert_path
from botocore.utils import get_environ_proxies
from urllib3.exceptions import HTTPError

from device_status_worker.bounded_http import BoundedHttp, HttpAnswer, NoAnswerError

CONNECT_TIMEOUT: Final = 3
"""Seconds for each address."""
READ_TIMEOUT: Final = 10
"""Seconds for each read."""
CALL_TIMEOUT: Final = CONNECT_TIMEOUT + READ_TIMEOUT
"""Seconds for all of a call, whatever the other side does."""
MOST_ANSWER: Final = 4 * 1024 * 1024
"""Bytes. A page of 60 devices has some 50 KB."""

_CREDENTIAL_SERVICES: Final = ("sts", "sso", "sso-oidc")


class AwsHttp:
    """Sends what botocore has prepared. Safe to share among threads.

    Parameters:
        connections: how many requests to one host may be under way at once.
    """

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._proxies: dict[str, str] = {}

    def prepare(self, url: str) -> None:
        """Do what the first request to this URL would do slowly.

        Raises:
            botocore.exceptions.BotoCoreError: the AWS settings can't be used.
        """
        try:
            self._http.prepare(self._proxy(url))
        except (ValueError, HTTPError) as error:
            why = f"the proxy's URL can't be used ({type(error).__name__})"
            raise InvalidConfigError(error_msg=why) from error

    def send(self, request: AWSPreparedRequest) -> HttpAnswer:
        """Send it, once, after `prepare`.

        Raises:
            NoAnswerError: no whole answer in time.
        """
        body: Any = request.body  # Bytes or text in the protocols used here.
        return self._http.send(
            request.method,
            request.url,
            {name: _text(value) for name, value in request.headers.items()},
            body,
            seconds=CALL_TIMEOUT,
            limit=MOST_ANSWER,
            proxy=self._proxy(request.url),
        )

    def bound_credentials(self, events: Any) -> None:
        """Let the requests by which a session fetches credentials be sent here too.

        Parameters:
            events: of a session, where botocore registers handlers.
        """
        for service in _CREDENTIAL_SERVICES:
            events.register(f"before-send.{service}", self._send_for_credentials)

    @cached_property
    def _http(self) -> BoundedHttp:
        # Made with the first request: settings that are wrong pause a target, and do not end a worker.
        configured = botocore.session.get_session().get_config_variable("ca_bundle")
        verify: Any = configured or os.environ.get("REQUESTS_CA_BUNDLE") or True
        path = get_cert_path(verify)
        try:
            return BoundedHttp(self._connections, path, connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
        except OSError as error:
            raise InvalidConfigError(error_msg=f"the CA bundle {path} can't be read: {error}") from error

    def _send_for_credentials(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        self.prepare(request.url)
        try:
            return as_botocore(request, self.send(request))
        except NoAnswerError as error:
            raise EndpointConnectionError(endpoint_url=request.url, error=error) from error

    def _proxy(self, url: str) -> str:
        there = urlsplit(url)
        origin = f"{there.scheme}://{there.netloc}"
        if origin not in self._proxies:
            found = ProxyConfiguration(proxies=get_environ_proxies(origin)).proxy_url_for(origin)
            self._proxies[origin] = found or ""
        return self._proxies[origin]


def as_botocore(request: AWSPreparedRequest, answer: HttpAnswer) -> AWSResponse:
    """The answer as botocore parses it."""
    raw = urllib3.HTTPResponse(io.BytesIO(answer.body), preload_content=False)
    return AWSResponse(request.url, answer.status, answer.headers, raw)  # type: ignore[arg-type]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
