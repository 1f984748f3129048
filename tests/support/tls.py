"""A TLS server in front of a plain one, and the certificates that it shows.

It keeps all that it decrypts, so that a test knows what a client gave away.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Self

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from support.servers import HOST
from support.waiting import eventually

Show = Callable[[ssl.SSLContext], None]
"""Makes a server's context show a certificate."""

_TLS_HANDSHAKE = b"\x16"


class TlsFront:
    """Forwards to a plain server on this host what comes to it in TLS, and in the clear.

    Parameters:
        port: of the plain server.
        show: the certificate, as `good` or one of `BAD` makes it.
        client_authority: who must have signed the certificate of a client; None asks for none.
    """

    def __init__(self, port: int, show: Show, *, client_authority: trustme.CA | None = None) -> None:
        self._backend = port
        self._client_authority = client_authority
        self._clients: set[asyncio.Task[None]] = set()
        self.show(show)

    def show(self, certificate: Show) -> None:
        """Show another certificate from now on, and forget what was received."""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate(self._context)
        if self._client_authority:
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._client_authority.configure_trust(self._context)
        self._context.sni_callback = lambda _socket, name, _context: self.server_names.add(name)
        self.decrypted = b""
        """What clients sent in TLS."""
        self.in_clear = b""
        """What they sent without."""
        self.refusals = 0
        """How many clients broke the handshake off."""
        self.server_names: set[str | None] = set()
        """Which server the clients said that they want (SNI)."""

    def __enter__(self) -> Self:
        self._listener = socket.create_server((HOST, 0), backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="tls-front", daemon=True)
        self._thread.start()
        started.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._accepting.cancel)
        self._thread.join()
        self._listener.close()

    def wait_for_refusal(self) -> None:
        """Return when a client has broken the handshake off, which the client knows first.

        Or when one has sent something: whoever waits for a refusal looks for that next.
        """
        eventually(lambda: self.refusals > 0 or self.decrypted, "a client refuses the certificate")

    @property
    def received(self) -> bytes:
        """All that clients sent."""
        return self.decrypted + self.in_clear

    def _run(self, started: Future[None]) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._accept(started))

    async def _accept(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._accepting = self._loop.create_task(self._accept_all())
        started.set_result(None)
        await self._accepting

    async def _accept_all(self) -> None:
        while True:
            accepted, _ = await self._loop.sock_accept(self._listener)
            client = self._loop.create_task(self._serve(accepted))
            self._clients.add(client)
            client.add_done_callback(self._clients.discard)

    async def _serve(self, accepted: socket.socket) -> None:
        is_tls = await self._first_byte(accepted) == _TLS_HANDSHAKE
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol, accepted, ssl=self._context if is_tls else None
            )
        except OSError:
            self.refusals += 1
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
        server_reader, server_writer = await asyncio.open_connection(HOST, self._backend)
        try:
            await asyncio.gather(
                self._forward(reader, server_writer, self._keep_decrypted if is_tls else self._keep_clear),
                self._forward(server_reader, writer),
            )
        finally:
            writer.close()
            server_writer.close()

    async def _first_byte(self, accepted: socket.socket) -> bytes:
        readable: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(accepted, lambda: readable.done() or readable.set_result(None))
        try:
            await readable
            return accepted.recv(1, socket.MSG_PEEK)
        except OSError:
            return b""
        finally:
            self._loop.remove_reader(accepted)

    async def _forward(
        self,
        source: asyncio.StreamReader,
        destination: asyncio.StreamWriter,
        keep: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        with suppress(OSError):
            while chunk := await source.read(65536):
                keep(chunk)
                destination.write(chunk)
                await destination.drain()
        destination.close()

    def _keep_decrypted(self, chunk: bytes) -> None:
        self.decrypted += chunk

    def _keep_clear(self, chunk: bytes) -> None:
        self.in_clear += chunk


def good(authority: trustme.CA, *names: str) -> Show:
    """A certificate for `names`; default: what this host is called here."""
    return authority.issue_cert(*(names or ("localhost", HOST))).configure_cert


def _of_an_unknown_authority(_: trustme.CA) -> Show:
    return good(trustme.CA())


def _for_another_name(authority: trustme.CA) -> Show:
    return good(authority, "redis.example.com", "10.0.0.1")


def _expired(authority: trustme.CA) -> Show:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    return authority.issue_cert("localhost", HOST, not_after=yesterday).configure_cert


def _self_signed(_: trustme.CA) -> Show:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address(HOST))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

    def show(context: ssl.SSLContext) -> None:
        with NamedTemporaryFile(suffix=".pem") as file:
            Path(file.name).write_bytes(pem)
            context.load_cert_chain(file.name)

    return show


BAD: dict[str, Callable[[trustme.CA], Show]] = {
    "of an unknown authority": _of_an_unknown_authority,
    "for another name": _for_another_name,
    "expired": _expired,
    "self-signed": _self_signed,
}
"""Certificates that nobody may accept, as good as an impostor can make them."""
