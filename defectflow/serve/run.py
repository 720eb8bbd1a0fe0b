"""An open service -> a listening server, until it is told to stop. What was accepted by then is still answered."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable

import uvicorn

from defectflow.errors import SettingsError
from defectflow.serve.app import build
from defectflow.serve.logs import write_log
from defectflow.serve.service import Service
from defectflow.serve.settings import ServeSettings

log = logging.getLogger(__name__)
KEEP_ALIVE_S = 60
BACKLOG = 1024


def run(settings: ServeSettings, *, listening: Callable[[str], None]) -> None:
    """Serve until a signal. `listening`: told the address once it listens. Raises as `Service`, and SettingsError."""
    write_log(settings.log)
    service = Service(settings)
    try:
        bound = bind(settings)
    except BaseException:
        service.close()
        raise
    tls = settings.tls
    config = uvicorn.Config(
        build(service),
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=settings.limits.connections,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.drain_s,
        ssl_certfile=None if tls is None else tls.certificate,
        ssl_keyfile=None if tls is None else tls.key,
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    log.info("serving with %s", settings.model_dump_json(include={"models", "host", "port", "provider", "threads"}))
    if tls is None and not settings.local:
        log.warning("without tls, keys and pictures cross the network unencrypted")
    address = f"{'http' if tls is None else 'https'}://{host}:{bound.getsockname()[1]}"
    log.info("listening on %s", address)
    listening(address)
    server = uvicorn.Server(config)

    def end(number: int, frame: object) -> None:
        """uvicorn raises the signal that ended it once more, after the last answer: then all is done."""
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    server.run(sockets=[bound])


def bind(settings: ServeSettings) -> socket.socket:
    """A listening socket. Raises SettingsError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        bound = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
        # Named as TCP, or asyncio would leave Nagle's algorithm on, which holds each answer back for 40 ms.
        return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=bound.detach())
    except OSError as error:
        raise SettingsError(
            f"host {settings.host}, port {settings.port}: cannot listen there ({error.strerror}); choose another port, "
            "or stop what listens on it"
        ) from error
