"""Who is asking, what they may do, and what their browser tab remembers.

Every function that a page gives to Gradio goes through `Station.handler(role)`: the role is looked up on the server
at every call, and `server.build` refuses to start with a function that does not say its role. Hiding a button is for
comfort only.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock, Timer
from typing import Any

from defectflow.store import Role
from defectflow_ui.visits.drops import Drops
from defectflow_ui.visits.served import Served

LASTS_S = 10 * 3600
"""A session ends so long after it began: a shift. Not after idleness, since an open page asks all the time."""
MOST_SESSIONS = 1000
MOST_TABS = 20
LEFT_S = 120.0
"""So long what a tab held can be taken over by the page that comes after it, when somebody reloads."""


class Tab(dict[str, Any]):
    """What one browser tab remembers, by name. Values with a `close` method are closed with the tab."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = Lock()
        """For looking up what is made where it is missing: a tab's handlers run at the same time."""

    def close(self) -> None:
        with self.lock:
            values = list(self.values())
            self.clear()
        for value in values:
            if hasattr(value, "close"):
                value.close()


@dataclass(eq=False)
class Session:
    """One browser that has signed in, or that uses a station without users from the same machine."""

    user: str
    key: int | None = None
    """Which password it was started with, `User.key`; None at a station without users."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    served: Served = field(default_factory=Served)
    drops: Drops = field(default_factory=Drops)
    tabs: dict[str, Tab] = field(default_factory=dict)
    left: dict[str, Tab] = field(default_factory=dict)
    """Tabs that were closed or reloaded a moment ago."""
    begun: float = field(default_factory=time.monotonic)
    hushed: str | None = None
    """The drift alarm that this browser no longer wants to see above all pages."""
    knows_its_way: bool = False
    """Whether somebody has hidden the first steps."""
    _lock: Lock = field(default_factory=Lock)

    def tab(self, session_hash: str) -> Tab:
        """A browser tab's memory. Beyond MOST_TABS the one goes that has asked for nothing the longest."""
        with self._lock:
            tab = self.tabs.pop(session_hash, None)
            self.tabs[session_hash] = tab = Tab() if tab is None else tab  # at the end: used just now
            over = list(self.tabs)[:-MOST_TABS]
        for name in over:
            self.close_tab(name)
        return tab

    def leave_tab(self, session_hash: str) -> None:
        """The browser shows it no more: it is closed in a moment, unless somebody takes over what it holds."""
        with self._lock:
            tab = self.tabs.pop(session_hash, None)
            if tab is None:
                return
            self.left[session_hash] = tab
        waiting = Timer(LEFT_S, self.close_tab, (session_hash,))
        waiting.daemon = True
        waiting.start()

    def take_over(self, was: str, now: str, prefix: str) -> bool:
        """What a tab of this browser held under names that begin so belongs to another one from now on; False: nothing.

        For a page that was loaded anew: whether the old one has said goodbye by then is a matter of milliseconds.
        """
        with self._lock:
            old = self.tabs.get(was) or self.left.get(was)
        if old is None or was == now:
            return False
        with old.lock:
            moved = {name: old.pop(name) for name in list(old) if name.startswith(prefix)}
        self.tab(now).update(moved)
        return bool(moved)

    def close_tab(self, session_hash: str) -> None:
        with self._lock:
            tab = self.tabs.pop(session_hash, None) or self.left.pop(session_hash, None)
        if tab is not None:
            tab.close()

    def close(self) -> None:
        for name in [*self.tabs, *self.left]:
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
    tab_name: str
    tab: Tab
    event: dict[str, Any]
    """What the browser said along with the event. Never to be trusted."""

    @property
    def served(self) -> Served:
        return self.session.served

    def number(self, name: str) -> int | None:
        """A whole number that came with the event; None for anything else."""
        try:
            return int(self.event.get(name, ""))
        except (TypeError, ValueError, OverflowError):
            return None

    def may(self, role: Role) -> bool:
        return self.role.allows(role)


class Sessions:
    """Sessions by cookie, on the server only: signing out ends them at once. Thread-safe."""

    def __init__(self, port: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.cookie = f"defectflow_{port}"
        """Its name. A browser sends a machine's cookies to all of its ports, and each may be a station."""
        self._sessions: dict[str, Session] = {}
        self._lock = Lock()
        self._clock = clock

    def begin(self, user: str, key: int | None = None) -> Session:
        session = Session(user, key, begun=self._clock())
        with self._lock:
            self._end_stale()
            self._sessions[session.token] = session
        return session

    def find(self, cookies: Mapping[str, str]) -> Session | None:
        with self._lock:
            session = self._sessions.get(cookies.get(self.cookie, ""))
            return None if session is None or self._clock() - session.begun > LASTS_S else session

    def end(self, cookies: Mapping[str, str]) -> None:
        self._end(cookies.get(self.cookie, ""))

    def close(self) -> None:
        for token in list(self._sessions):
            self._end(token)

    def __iter__(self) -> Iterator[Session]:
        with self._lock:
            return iter(list(self._sessions.values()))

    def _end(self, token: str) -> None:
        with self._lock:
            session = self._sessions.pop(token, None)
        if session is not None:
            session.close()

    def _end_stale(self) -> None:
        over = max(0, len(self._sessions) - MOST_SESSIONS + 1)  # the oldest come first
        for number, session in enumerate(list(self._sessions.values())):
            if number < over or self._clock() - session.begun > LASTS_S:
                del self._sessions[session.token]
                session.close()
