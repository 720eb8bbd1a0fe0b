"""What the server shows a browser: content under an unguessable token, for one session. Never a path.

Pages put content here and write the returned address into <img src> or a download link. It is made when it is asked
for, so a gallery of a thousand thumbnails costs nothing until it is scrolled to.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

ROUTE = "/served/"
MOST = 20_000
"""Items of one session; beyond them the oldest go."""


@dataclass(frozen=True, slots=True)
class Item:
    """Content, made on demand: bytes, or a file that the server itself has written."""

    make: Callable[[], bytes | Path]
    media_type: str
    filename: str | None
    """Offered as a download under this name; None: shown in the page."""


class Served:
    """The items of one session, by token. Thread-safe."""

    def __init__(self) -> None:
        self._items: OrderedDict[str, Item] = OrderedDict()
        self._lock = Lock()

    def put(
        self, make: Callable[[], bytes | Path], media_type: str = "image/png", *, filename: str | None = None
    ) -> str:
        """An address that gives this content to this session, and to nobody else."""
        token = secrets.token_urlsafe(18)
        with self._lock:
            self._items[token] = Item(make, media_type, filename)
            while len(self._items) > MOST:
                self._items.popitem(last=False)
        return ROUTE + token

    def take(self, token: str) -> Item | None:
        with self._lock:
            return self._items.get(token)

    def remove(self, address: str) -> None:
        """For content that is no longer there. An unknown address is not an error."""
        with self._lock:
            self._items.pop(address.removeprefix(ROUTE), None)
