"""What to make of the texts with which Redis's and RabbitMQ's clients say that they can't connect.

Some of them pass on nothing but the text, so the text is what is looked at.
"""

from __future__ import annotations

import re

# redis-py puts a whole client with its pool behind it, and leaves out why no sentinel could be asked.
_NO_PRIMARY = re.compile(r"(No master found for '[^']*').*", re.DOTALL)


def cause(text: str) -> str:
    """The text of an error as one short line."""
    return _NO_PRIMARY.sub(r"\1: no sentinel could be asked, or none knows it", text)


def advice(text: str) -> str | None:
    """What to do about an error if its text says more than that the server is away, else None."""
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            "the server's certificate was refused and nothing was sent; check the host name, renew an "
            "expired certificate, or name the file of its authority in the URL: ?ssl_ca_certs=/path/ca.pem"
        )
    if _NO_PRIMARY.match(text):
        return (
            "check master_name, that the sentinels run, and with rediss+sentinel:// their certificates: "
            "host name, dates, and the authority in ssl_ca_certs"
        )
    return None
