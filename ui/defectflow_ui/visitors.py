"""Who is asking, what they may do, and what their browser tab remembers.

Every function that a page gives to Gradio goes through `Station.handler(role)`: the role is looked up on the server
at every call, and `server.build` refuses to start with a function that does not say its role. Hiding a button is for
comfort only.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from defectflow.store import Role
from defectflow_ui.shelf import Shelf
from defectflow_ui.uploads import Drop

COOKIE = "defectflow_session"
IDLE_S = 8 * 3600
"""A session ends when nobody has asked anything for so long: a shift."""
MOST_SESSIONS = 1000
MOST_TABS = 20


class Tab(dict[str, Any]):
    """What one browser tab remembers, by name. Values with a `close` method are closed with the tab."""

    def close(self) -> None:
        for value in self.values():
            if hasattr(value, "close"):
                value.close()
        self.clear()


@dataclass(eq=False)
class Session:
    """One browser that has signed in, or that uses a station without users from the same machine."""

    user: str
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    shelf: Shelf = field(default_factory=Shelf)
    drops: dict[str, Drop] = field(default_factory=dict)
    tabs: dict[str, Tab] = field(default_factory=dict)
    last_seen: float = field(default_factory=time.monotonic)

    def tab(self, session_hash: str) -> Tab:
        if session_hash not in self.tabs and len(self.tabs) >= MOST_TABS:
            self.close_tab(next(iter(self.tabs)))
        return self.tabs.setdefault(session_hash, Tab())

    def close_tab(self, session_hash: str) -> None:
        if tab := self.tabs.pop(session_hash, None):
            tab.close()

    def close(self) -> None:
        for name in list(self.tabs):
            self.close_tab(name)
        for drop in list(self.drops.values()):
            drop.close()
        self.drops.clear()


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks, in one call of a handler."""

    user: str
    role: Role
    session: Session
    tab: Tab
    event: dict[str, Any]
    """What the browser said along with the event. Never to be trusted."""

    @property
    def shelf(self) -> Shelf:
        return self.session.shelf

    def may(self, role: Role) -> bool:
        return self.role.allows(role)


class Sessions:
    """Sessions by cookie, on the server only: signing out ends them at once. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._sessions: dict[str, Session] = {}
        self._lock = Lock()
        self._clock = clock

    def begin(self, user: str) -> Session:
        session = Session(user, last_seen=self._clock())
        with self._lock:
            self._end_stale()
            self._sessions[session.token] = session
        return session

    def find(self, token: str | None) -> Session | None:
        with self._lock:
            session = self._sessions.get(token or "")
            if session is None or self._clock() - session.last_seen > IDLE_S:
                return None
            session.last_seen = self._clock()
            return session

    def end(self, token: str | None) -> None:
        with self._lock:
            session = self._sessions.pop(token or "", None)
        if session is not None:
            session.close()

    def close(self) -> None:
        for token in list(self._sessions):
            self.end(token)

    def __iter__(self) -> Iterator[Session]:
        with self._lock:
            return iter(list(self._sessions.values()))

    def _end_stale(self) -> None:
        by_age = sorted(self._sessions.values(), key=lambda session: session.last_seen)
        stale = [session for session in by_age if self._clock() - session.last_seen > IDLE_S]
        stale += by_age[len(stale) :][: max(0, len(by_age) - len(stale) - MOST_SESSIONS + 1)]
        for session in stale:
            del self._sessions[session.token]
            session.close()
