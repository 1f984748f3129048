"""How a server is verified: the `ssl_*` options of a URL, in the words of each library that connects.

Left to themselves, kombu verifies nothing on rediss:// and py-amqp no host name.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Tls:
    """Whom to trust and whom to be; by default, certificate and host name are verified."""

    ca_certs: str | None = None
    """File with the PEM certificates of trusted authorities; None: the system's."""
    certfile: str | None = None
    """File with the PEM certificate that this side shows, and its chain."""
    keyfile: str | None = None
    """File with its private key, unencrypted; None: it is in `certfile`."""
    verify: bool = True
    check_hostname: bool = True

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Tls:
        """Read the options of a URL that are named in `OPTIONS`.

        Raises:
            ValueError: the text names the option, not its value.
        """
        cert_reqs = _word(options, "ssl_cert_reqs", {"required": True, "none": False})
        check_hostname = _word(options, "ssl_check_hostname", {"true": True, "false": False})
        if "ssl_keyfile" in options and "ssl_certfile" not in options:
            raise ValueError("ssl_keyfile: needs ssl_certfile beside it")
        return cls(
            ca_certs=options.get("ssl_ca_certs"),
            certfile=options.get("ssl_certfile"),
            keyfile=options.get("ssl_keyfile"),
            verify=cert_reqs,
            check_hostname=check_hostname and cert_reqs,
        )

    def check_files(self) -> None:
        """Read the files once, so that a wrong one is found before the first connection.

        Raises:
            ValueError: the text names the option, the file, and what is wrong with it.
        """
        if self.ca_certs:
            check_ca_file("ssl_ca_certs", self.ca_certs)
        if self.certfile:
            _check_client_certificate(self.certfile, self.keyfile)


OPTIONS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")


def redis_options(tls: Tls) -> dict[str, Any]:
    """For a `redis.SSLConnection`, which kombu makes as well."""
    return {
        "ssl_cert_reqs": "required" if tls.verify else "none",
        "ssl_check_hostname": tls.check_hostname,
        "ssl_ca_certs": tls.ca_certs,
        "ssl_certfile": tls.certfile,
        "ssl_keyfile": tls.keyfile,
        "ssl_min_version": ssl.TLSVersion.TLSv1_2,
    }


def amqp_options(tls: Tls, host: str) -> dict[str, Any]:
    """For an `amqp.Connection` to this host."""
    options: dict[str, Any] = {
        "cert_reqs": ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE,
        "ca_certs": tls.ca_certs,
        "certfile": tls.certfile,
        "keyfile": tls.keyfile,
        "tls_minimum_version": ssl.TLSVersion.TLSv1_2,
    }
    # py-amqp checks the name that it is given, and none without one.
    return options | ({"server_hostname": host} if tls.check_hostname else {})


def check_ca_file(name: str, file: str) -> None:
    """Check that `file` holds certificates of authorities.

    Raises:
        ValueError: begins with `name`.
    """
    try:
        _read(name, file)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        raise ValueError(f"{name}: {file} holds no certificate in PEM form") from None


def _check_client_certificate(certfile: str, keyfile: str | None) -> None:
    _read("ssl_certfile", certfile)
    name, file = ("ssl_keyfile", keyfile) if keyfile else ("ssl_certfile", certfile)
    _read(name, file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_cert_chain(certfile, keyfile, password=_no_passphrase(name))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError(f"{name}: the key in {file} does not belong to the certificate") from None
        raise ValueError(
            f"ssl_certfile: {certfile} must hold a certificate in PEM form, and {file} its private key"
        ) from None


def _no_passphrase(name: str) -> Callable[[], str]:
    """Without it OpenSSL asks for a passphrase at the terminal."""

    def refuse() -> str:
        raise ValueError(f"{name}: the private key is encrypted; give one without a passphrase")

    return refuse


def _read(name: str, file: str) -> None:
    try:
        with Path(file).open("rb"):
            pass
    except OSError as error:
        raise ValueError(f"{name}: {file} can't be read: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"{name}: is not the path of a file") from None


def _word(options: Mapping[str, str], name: str, words: Mapping[str, bool]) -> bool:
    """The meaning of an option's word; the first one is the default."""
    default = next(iter(words))
    try:
        return words[options.get(name, default)]
    except KeyError:
        raise ValueError(f"{name}: must be {' or '.join(words)}") from None
