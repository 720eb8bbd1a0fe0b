"""What every request passes before Gradio or a page sees it. What is not listed here is not served."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from defectflow_ui.language import LANGUAGES, of_visitor, speaking, spoken
from defectflow_ui.markup.render import render
from defectflow_ui.settings import LOCAL_USER
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import LASTS_S, Session
from defectflow_ui.web.policy import policy
from defectflow_ui.words import common as words

HOST = re.compile(r"(?P<name>[\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
"""A name or an address, and a port: nothing that could be taken for a path."""
OPEN = re.compile(r"/(sign-in|station/[\w.-]+|favicon\.ico)")
"""Served to everybody: the sign-in page and the station's own assets."""
GRADIO = re.compile(
    r"/(config|theme\.css|manifest\.json|(assets|static|svelte)/[\w./@-]+)?"
    r"|/gradio_api/(queue/(join|data)|heartbeat/\w+|cancel|reset|startup-events|theme\.css|info)"
)
"""Of Gradio's routes, those that its page needs. Its routes for files, uploads, streams and proxying are not among
them: no path or address that a browser sends is ever opened."""
OURS = re.compile(r"/(alive|unjudged|served/[\w-]+|drop(/[\w-]+(/(lost|end))?)?|sign-out)")
FILE_DATA = "gradio.FileData"
"""What Gradio would take for its own file, whose path it would open."""
ENGLISH = re.compile(rb'lang="en"')
"""What Gradio says of its page, whatever the language."""


class Gate:
    """ASGI middleware: host, origin, route, session, size; and headers that keep the page to itself."""

    def __init__(self, app: ASGIApp, station: Station) -> None:
        self._app = app
        self._station = station
        self._hosts = {"localhost", "127.0.0.1", "::1", station.settings.host}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no websockets here
            return
        request = Request(scope)
        with speaking(of_visitor(request.cookies, request.headers)):
            await self._answer(scope, request, receive, send)

    async def _answer(self, scope: Scope, request: Request, receive: Receive, send: Send) -> None:
        session = self._session(request)
        path = str(scope["path"])  # what is routed; a URL made of it and of the Host header may say something else
        answer = self._refusal(request, path)
        begun = None
        if answer is None and session is None and not OPEN.fullmatch(path):
            if request.method != "GET" or path != "/":
                answer = _refuse(401, words.sign_in_again)
            elif request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
                answer = _again()
            elif self._station.store.users.any():
                answer = RedirectResponse("/sign-in", 303)
            else:
                begun = self._station.sessions.begin(LOCAL_USER)
                _give_cookie(scope, self._station.sessions.cookie, begun)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", policy())
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"  # with none, browsers send no origin along
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                headers["Permissions-Policy"] = "camera=(self), microphone=(), geolocation=()"
                if begun is not None:
                    headers.append(
                        "Set-Cookie", cookie(self._station.sessions.cookie, begun, scope["scheme"] == "https")
                    )
            await send(message)

        if answer is not None:
            await answer(scope, receive, send_guarded)
            return
        if request.method == "POST" and (path.startswith("/gradio_api/") or path == "/unjudged"):
            body = await self._small_body(request, receive)
            if body is None:
                await _refuse(413, words.request_too_large)(scope, receive, send_guarded)
                return
            try:  # nothing is spelt in two ways any more; half characters, which no database takes, are refused
                body = json.dumps(json.loads(body), ensure_ascii=False).encode()
            except (ValueError, RecursionError):
                await _refuse(400, words.no_such_route)(scope, receive, send_guarded)
                return
            if FILE_DATA.encode() in body:
                await _refuse(403, words.no_such_route)(scope, receive, send_guarded)
                return
            _set_length(scope, len(body))
            receive = _replay(body, receive)
        await self._app(scope, receive, _naming_scripts(send_guarded) if path == "/" else send_guarded)

    def _session(self, request: Request) -> Session | None:
        session = self._station.sessions.find(request.cookies)
        return session if session is not None and self._station.role_of(session) is not None else None

    def _refusal(self, request: Request, path: str) -> Response | None:
        named = HOST.fullmatch(request.headers.get("host", ""))
        host = named and named["name"].strip("[]").lower()
        if host is None:
            return _refuse(400, words.wrong_host)
        if self._station.settings.local and host not in self._hosts:
            return _refuse(403, words.wrong_host)  # another site's name that leads here: DNS rebinding
        origin = request.headers.get("origin")
        changes = request.method not in ("GET", "HEAD")
        if changes and origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            return _refuse(403, words.wrong_origin)
        fetch = {name: request.headers.get(f"sec-fetch-{name}") for name in ("site", "mode", "dest")}
        if fetch["site"] in ("cross-site", "same-site") and (fetch["mode"], fetch["dest"]) != ("navigate", "document"):
            return _refuse(403, words.wrong_origin)  # a link to here may be followed; nothing here may be embedded
        if not (OPEN.fullmatch(path) or GRADIO.fullmatch(path) or OURS.fullmatch(path)):
            return _refuse(403, words.no_such_route)
        return None

    async def _small_body(self, request: Request, receive: Receive) -> bytes | None:
        limit, body = self._station.settings.limits.request_bytes, b""
        async for chunk in Request(request.scope, receive).stream():
            body += chunk
            if len(body) > limit:
                return None
        return body


def _naming_scripts(send: Send) -> Send:
    """Holds Gradio's page back until its scripts are known, for its policy, and writes its language there."""
    start: Message = {}
    body = b""

    async def send_whole(message: Message) -> None:
        nonlocal start, body
        if message["type"] == "http.response.start":
            start = message
            return
        body += message.get("body", b"")
        if not message.get("more_body", False):
            said = f'lang="{spoken()}" data-date="{LANGUAGES[spoken()].date}"'
            body = ENGLISH.sub(said.encode(), body, count=1)
            _set_length(start, len(body))
            MutableHeaders(scope=start)["Content-Security-Policy"] = policy(body)
            await send(start)
            await send({"type": "http.response.body", "body": body})

    return send_whole


def cookie(name: str, session: Session, secure: bool) -> str:
    """Not readable by scripts, not sent from other sites."""
    attributes = f"Path=/; HttpOnly; SameSite=Strict; Max-Age={LASTS_S}" + ("; Secure" if secure else "")
    return f"{name}={session.token}; {attributes}"


def _give_cookie(scope: Scope, name: str, session: Session) -> None:
    """So that this very first request already counts as the session's."""
    kept = [(key, value) for key, value in scope["headers"] if key != b"cookie"]
    others = Headers(scope=scope).get("cookie", "")
    # At the end: of two of a name the last one counts, and the first may be from before a restart.
    scope["headers"] = [*kept, (b"cookie", f"{others}; {name}={session.token}".encode("latin-1"))]


def _set_length(scope: Scope | Message, length: int) -> None:
    kept = [(name, value) for name, value in scope["headers"] if name not in (b"content-length", b"transfer-encoding")]
    scope["headers"] = [*kept, (b"content-length", str(length).encode())]


def _again() -> Response:
    """For who follows a link from elsewhere: browsers keep the cookie back then, and a new one would end the open tab's
    session. Asked for from this page, it comes along."""
    return HTMLResponse(render("again.html", title=words.title))


def _refuse(status: int, reason: str) -> Response:
    return PlainTextResponse(f"{HTTPStatus(status).phrase}: {reason}\n", status)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body again, for whoever reads it next; after it, whatever the connection says."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
