"""The sign-in page. Attempts are limited by user name and by address, and take as long for unknown names as for known."""

from __future__ import annotations

import html
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from string import Template
from threading import Lock

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from defectflow_ui.gate import cookie
from defectflow_ui.station import Station
from defectflow_ui.visitors import COOKIE
from defectflow_ui.words import SignIn as words

PAGE = Template((Path(__file__).parent / "assets" / "sign-in.html").read_text(encoding="utf-8"))
FORM_BYTES = 4096
MOST_ATTEMPTS = 5
WINDOW_S = 300.0


class Attempts:
    """Failed attempts by key, over a sliding window. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._failed: defaultdict[str, list[float]] = defaultdict(list)
        self._clock = clock
        self._lock = Lock()

    def wait_s(self, *keys: str) -> float:
        """How long until another attempt is allowed; 0: now."""
        with self._lock:
            return max(self._wait(key) for key in keys)

    def failed(self, *keys: str) -> None:
        with self._lock:
            for key in keys:
                self._failed[key].append(self._clock())

    def succeeded(self, user: str, address: str) -> None:
        """The user starts afresh; the address only gets this attempt back, or one account would free it to guess others."""
        with self._lock:
            self._failed.pop(user, None)
            if self._failed[address]:
                self._failed[address].pop()

    def _wait(self, key: str) -> float:
        recent = [moment for moment in self._failed[key] if self._clock() - moment < WINDOW_S]
        if recent:
            self._failed[key] = recent
        else:
            del self._failed[key]
        return recent[-MOST_ATTEMPTS] + WINDOW_S - self._clock() if len(recent) >= MOST_ATTEMPTS else 0.0


class SignIn:
    """GET and POST /sign-in, POST /sign-out."""

    def __init__(self, station: Station, attempts: Attempts | None = None) -> None:
        self._station = station
        self._attempts = attempts or Attempts()

    async def show(self, request: Request) -> Response:
        return _page() if self._station.users.any() else RedirectResponse("/", 303)

    async def enter(self, request: Request) -> Response:
        if int(request.headers.get("content-length") or FORM_BYTES + 1) > FORM_BYTES:
            return _page(words.wrong, 413)
        form = await request.form(max_files=0, max_fields=2)
        name, password = str(form.get("name", "")).strip(), str(form.get("password", ""))
        keys = f"user {name.casefold()}", f"address {request.client.host if request.client else ''}"
        wait_s = self._attempts.wait_s(*keys)
        if wait_s > 0:
            return _page(words.wait(wait_s), 429)
        self._attempts.failed(*keys)  # counted before the check, so that parallel attempts do not slip through
        if not await run_in_threadpool(self._station.users.check, name, password):
            return _page(words.wrong, 401)
        self._attempts.succeeded(*keys)
        self._station.sessions.end(request.cookies.get(COOKIE))
        session = self._station.sessions.begin(name)
        answer = RedirectResponse("/", 303)
        answer.headers.append("Set-Cookie", cookie(session, request.url.scheme == "https"))
        return answer

    async def leave(self, request: Request) -> Response:
        self._station.sessions.end(request.cookies.get(COOKIE))
        answer = RedirectResponse("/sign-in", 303)
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return answer


def _page(message: str = "", status: int = 200) -> Response:
    said = {name: html.escape(text) for name, text in words.page().items()}
    return HTMLResponse(PAGE.substitute(said, message=html.escape(message)), status)
