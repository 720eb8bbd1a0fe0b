"""The sign-in page. Attempts are limited by address here; by user name and address, and by user name, in the store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address
from threading import Lock

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from defectflow.errors import AccessError, StoreError
from defectflow_ui.language import COOKIE, LANGUAGES
from defectflow_ui.markup.render import render
from defectflow_ui.station import Station
from defectflow_ui.web.gate import cookie
from defectflow_ui.words import sign_in as words

log = logging.getLogger(__name__)
FORM_BYTES = 4096
REMEMBERED_S = 365 * 24 * 3600
"""So long a browser keeps the language that was chosen."""
MOST_ATTEMPTS = 20
WINDOW_S = 300.0
MOST_ADDRESSES = 10_000
"""Addresses whose failures are remembered; beyond them those that failed longest ago are forgotten."""


class Attempts:
    """Failed attempts by address, over a sliding window; the store counts them by name. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._failed: dict[str, list[float]] = {}
        """By address, the one that tried last at the end."""
        self._clock = clock
        self._lock = Lock()

    def begin(self, address: str) -> float:
        """Count an attempt as failed before it is tried, or parallel ones would slip through.

        Returns how long to wait until one is allowed; 0: this one is.
        """
        with self._lock:
            recent = [moment for moment in self._failed.pop(address, []) if self._clock() - moment < WINDOW_S]
            self._failed[address] = recent
            while len(self._failed) > MOST_ADDRESSES:
                del self._failed[next(iter(self._failed))]
            if len(recent) >= MOST_ATTEMPTS:
                return recent[-MOST_ATTEMPTS] + WINDOW_S - self._clock()
            recent.append(self._clock())
            return 0.0

    def succeeded(self, address: str) -> None:
        """Take this one attempt back; not all of them, or one account would free the address to guess others."""
        with self._lock:
            if recent := self._failed.get(address):
                recent.pop()


class SignIn:
    """GET and POST /sign-in, POST /sign-out."""

    def __init__(self, station: Station, attempts: Attempts | None = None) -> None:
        self._station = station
        self._attempts = attempts or Attempts()

    async def show(self, request: Request) -> Response:
        if not self._station.store.users.any():
            return RedirectResponse("/", 303)
        chosen = request.query_params.get("language")
        if chosen not in LANGUAGES:
            return _page()
        answer = RedirectResponse("/sign-in", 303)
        answer.set_cookie(COOKIE, chosen, max_age=REMEMBERED_S, samesite="strict")
        return answer

    async def enter(self, request: Request) -> Response:
        if int(request.headers.get("content-length") or FORM_BYTES + 1) > FORM_BYTES:
            return _page(words.wrong, 413)
        form = await request.form(max_files=0, max_fields=2)
        name, password = str(form.get("name", "")).strip(), str(form.get("password", ""))
        address = network(request.client.host if request.client else "")
        if (wait_s := self._attempts.begin(address)) > 0:
            return _page(words.wait(wait_s), 429)
        try:
            user = await run_in_threadpool(self._station.store.users.authenticate, name, password, address=address)
        except AccessError as error:
            return _page(words.refused(str(error)), 401)
        except StoreError as error:  # where the store lies, and what ails it, is not for strangers
            log.error("nobody can sign in: %s", error)
            return _page(words.out_of_order, 503)
        self._attempts.succeeded(address)
        self._station.sessions.end(request.cookies)
        session = self._station.sessions.begin(user.name, user.key)
        answer = RedirectResponse("/", 303)
        answer.headers.append(
            "Set-Cookie", cookie(self._station.sessions.cookie, session, request.url.scheme == "https")
        )
        return answer

    async def leave(self, request: Request) -> Response:
        self._station.sessions.end(request.cookies)
        answer = RedirectResponse("/sign-in", 303)
        answer.delete_cookie(self._station.sessions.cookie, path="/", httponly=True, samesite="strict")
        return answer


def network(address: str) -> str:
    """What counts as one address: of IPv6 a network of 64 bits, which is what one connection is given."""
    try:
        known = ip_address(address)
    except ValueError:  # a test's, or a socket's
        return address
    if isinstance(known, IPv6Address) and known.ipv4_mapped is None:
        return str(IPv6Network((int(known) >> 64 << 64, 64)))
    return str(getattr(known, "ipv4_mapped", None) or known)


def _page(message: str = "", status: int = 200) -> Response:
    return HTMLResponse(render("sign-in.html", **words.page(), languages=LANGUAGES, message=message), status)
