"""Notices a listing that does not end: Cognito gives a token for the next page again and again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from device_status_worker.cognito import Page

ENDLESS: Final = "EndlessListing"
"""Error code of a listing that does not end (pool_page.lua has it for the users of a pool)."""
MAX_PAGES_WITHOUT_NEWS: Final = 10
"""In a row. A page may be empty and not the last, but hardly so many."""


@dataclass(slots=True)
class Headway:
    """How far the listing of one user's devices has come, from its first page on."""

    devices: set[str] = field(default_factory=set)
    """Keys of those that were listed."""
    _tokens: set[str] = field(default_factory=set)
    _pages_without_news: int = 0

    def stops_at(self, page: Page) -> str | None:
        """Take in one more page; why no further page may be asked for, or None."""
        before = len(self.devices)
        self.devices.update(device["DeviceKey"] for device in page.items)
        self._pages_without_news = 0 if len(self.devices) > before else self._pages_without_news + 1
        if not page.token:
            return None
        if page.token in self._tokens:
            return "the token for the next page came a second time"
        self._tokens.add(page.token)
        if self._pages_without_news == MAX_PAGES_WITHOUT_NEWS:
            return f"{MAX_PAGES_WITHOUT_NEWS} pages in a row brought no new device, and none was the last"
        return None
