"""Settings -> a running station: pages in one Gradio app, behind the gate, with the routes that are our own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from defectflow.data import printable
from defectflow.errors import DataError, DefectFlowError
from defectflow.store import Query, Role
from defectflow_ui.markup.theme import ASSETS, HEAD, theme
from defectflow_ui.station import Station
from defectflow_ui.visits.uploads import Drop
from defectflow_ui.visits.visitors import Session
from defectflow_ui.web.frame import build_frame
from defectflow_ui.web.gate import Gate
from defectflow_ui.web.sign_in import Attempts, SignIn
from defectflow_ui.words import common as words
from defectflow_ui.words import uploads as upload_words

ANSWERED_TOGETHER = 16
"""Handlers that run at the same time."""
MOST_WAITING = 1000
"""Events that wait for a handler; beyond them the server says that it is busy, before its memory is full."""
MOST_NAMES = 10_000
"""Inspections since a drop began that are looked through for its names."""
PATH_COMPONENTS = (
    gr.File,
    gr.Image,
    gr.Gallery,
    gr.Audio,
    gr.Video,
    gr.UploadButton,
    gr.DownloadButton,
    gr.FileExplorer,
)
"""They send paths through the browser; what the station serves and takes does not."""


def build(station: Station, attempts: Attempts | None = None) -> FastAPI:
    """The ASGI app. Raises TypeError if a page breaks the rules that keep the station safe."""
    blocks = build_frame(station)
    _check(blocks)
    blocks.lay_out_all()
    blocks.queue(default_concurrency_limit=ANSWERED_TOGETHER, max_size=MOST_WAITING)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(station.close)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    sign_in = SignIn(station, attempts)
    app.add_route("/sign-in", sign_in.show, methods=["GET"])
    app.add_route("/sign-in", sign_in.enter, methods=["POST"])
    app.add_route("/sign-out", sign_in.leave, methods=["POST"])
    own = _OwnRoutes(station)
    app.add_route("/station/{name}", own.asset, methods=["GET"])
    app.add_route("/served/{token}", own.served, methods=["GET"])
    app.add_route("/alive", own.alive, methods=["GET"])
    app.add_route("/unjudged", own.unjudged, methods=["POST"])
    app.add_route("/drop", own.open_drop, methods=["POST"])
    app.add_route("/drop/{token}", own.receive, methods=["POST"])
    app.add_route("/drop/{token}/lost", own.lose, methods=["POST"])
    app.add_route("/drop/{token}/end", own.end_drop, methods=["POST"])
    app.add_middleware(Gate, station=station)
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        auth_dependency=lambda request: _user(station, request),
        theme=theme(),
        head=HEAD,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        favicon_path=str(ASSETS / "icon.png"),
    )
    return app


def _check(blocks: gr.Blocks) -> None:
    """Nothing is callable from the browser without a role, and nothing takes or gives a path."""
    for block in blocks.blocks.values():
        if isinstance(block, PATH_COMPONENTS):
            raise TypeError(
                f"{type(block).__name__} sends paths through the browser; serve its content, or take a drop, instead"
            )
        if getattr(block, "server_fns", None):
            raise TypeError(f"{type(block).__name__}: server functions bypass the roles; use an event instead")
    for function in blocks.fns.values():
        if function.fn is not None and not hasattr(function.fn, "least"):
            raise TypeError(f"{function.name}: say who may call it, with @station.handler(Role...)")
        if function.fn is not None and function.outputs and function.show_progress != "hidden":
            raise TypeError(f"{function.name}: an error would cover what it changes; connect it with **QUIET")


def _user(station: Station, request: Request) -> str | None:
    session = station.sessions.find(request.cookies)
    return None if session is None else session.user


class _OwnRoutes:
    """What Gradio has nothing to do with: assets, served content, drops."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._assets = {file.name: file for file in ASSETS.iterdir() if file.suffix in (".css", ".js", ".png", ".svg")}

    async def asset(self, request: Request) -> Response:
        file = self._assets.get(request.path_params["name"])
        return _nothing() if file is None else FileResponse(file, headers={"Cache-Control": "no-cache"})

    async def served(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return _over()
        item = session.served.take(request.path_params["token"])
        if item is None:
            return _nothing()
        try:
            content = await run_in_threadpool(item.make)
        except (DefectFlowError, OSError):  # what it says names the server's folders
            return PlainTextResponse(words.no_longer_there, 410)
        if isinstance(content, Path) and not content.is_file():  # an export that went with its tab
            return PlainTextResponse(words.no_longer_there, 410)
        headers = {"Cache-Control": "private, max-age=3600"}
        if isinstance(content, Path):
            return FileResponse(content, media_type=item.media_type, filename=item.filename, headers=headers)
        if item.filename is not None:
            headers["Content-Disposition"] = f"attachment; filename={json.dumps(item.filename)}"
        return Response(content, media_type=item.media_type, headers=headers)

    async def alive(self, _: Request) -> Response:
        return JSONResponse({"station": self._station.started})

    async def unjudged(self, request: Request) -> Response:
        """Of the names of a drop, those without an inspection since: a restart has cut it short."""
        try:
            said = json.loads(await request.body())
            since, names = datetime.fromisoformat(said["since"]), [str(name) for name in said["names"]]
        except (ValueError, KeyError, TypeError):
            return _nothing()
        query = Query(since=since, limit=MOST_NAMES)
        found = await run_in_threadpool(self._station.store.history.search, query)
        judged = {item.file for item in found}
        return JSONResponse({"unjudged": [name for name in names if printable(name) not in judged]})

    async def open_drop(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return _over()
        role = self._station.role_of(session)
        if role is None or not role.allows(Role.OPERATOR):
            return PlainTextResponse(words.not_allowed(role or "none", Role.OPERATOR), 403)
        try:
            drop = session.drops.open(self._station.settings.limits)
            return JSONResponse({"drop": drop.token, "at": datetime.now(UTC).isoformat()})
        except DataError as error:
            return PlainTextResponse(str(error), 409)

    async def receive(self, request: Request) -> Response:
        drop = self._drop(request)
        if isinstance(drop, Response):
            return drop
        try:
            await drop.receive(request.query_params.get("name", ""), request.stream(), _number(request))
        except ClientDisconnect:
            return Response(status_code=400)  # to nobody: the connection broke
        return JSONResponse({"taken": True})

    async def lose(self, request: Request) -> Response:
        drop, number = self._drop(request), _number(request)
        if isinstance(drop, Response):
            return drop
        if number is None:
            return _nothing()
        drop.lose(request.query_params.get("name", ""), number)
        return JSONResponse({"noted": True})

    async def end_drop(self, request: Request) -> Response:
        drop = self._drop(request)
        if isinstance(drop, Response):
            return drop
        drop.end()
        return JSONResponse({"ended": True})

    def _session(self, request: Request) -> Session | None:
        """Whose request it is. None where it was, but has ended since the gate let it through."""
        return self._station.sessions.find(request.cookies)

    def _drop(self, request: Request) -> Drop | Response:
        """The drop that is being sent, or why there is none."""
        session = self._session(request)
        if session is None:
            return _over()
        drop = session.drops.get(request.path_params["token"])
        if drop is None:
            return _nothing()
        return PlainTextResponse(upload_words.ended, 410) if drop.ended else drop


def _number(request: Request) -> int | None:
    """The browser's own number of a file."""
    said = request.query_params.get("number", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else None


def _over() -> Response:
    return PlainTextResponse(words.sign_in_again, 401)


def _nothing() -> Response:
    return PlainTextResponse(words.no_such_route, 404)


async def serve(app: FastAPI, host: str, port: int, tls_cert: Path | None = None, tls_key: Path | None = None) -> None:
    """Run until Ctrl-C."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
        server_header=False,
        proxy_headers=False,  # or the address in the attempts' limit could be made up
        timeout_graceful_shutdown=2,
    )
    await uvicorn.Server(config).serve()


def run(app: FastAPI, host: str, port: int, tls_cert: Path | None = None, tls_key: Path | None = None) -> None:
    """As `serve`, where nothing else runs."""
    with suppress(KeyboardInterrupt):  # the usual way to stop it
        asyncio.run(serve(app, host, port, tls_cert, tls_key))
