"""Method calls beside a connection's other requests: an inspection takes a while, and clients ask meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

from asyncua import Server, ua
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
from asyncua.server.uaprocessor import UaProcessor
from asyncua.ua.ua_binary import nodeid_from_binary

AT_ONCE = 16
"""Calls of one connection; further requests of it wait until one is answered."""
_CALL = ua.NodeId(ua.Int32(ua.ObjectIds.CallRequest_Encoding_DefaultBinary))


class Processor(UaProcessor):
    """Answers calls when they are done, and all else in order."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._calls: set[asyncio.Task[Any]] = set()

    async def process_message(self, seqhdr: Any, body: Any) -> Any:
        answering = super().process_message(seqhdr, body)  # type: ignore[no-untyped-call]
        if nodeid_from_binary(body.copy()) != _CALL or len(self._calls) >= AT_ONCE:
            return await answering
        task = asyncio.create_task(answering)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return True


class Protocol(OPCUAProtocol):
    """A connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.processor is not None:  # else it was refused
            self.processor = Processor(self.iserver, self.transport, self.limits)
            self.processor.set_policies(self.policies)  # type: ignore[no-untyped-call]


class Listener(BinaryServer):
    """The port."""

    def _make_protocol(self) -> OPCUAProtocol:
        return Protocol(self.iserver, self._policies, self.clients, self.closing_tasks, self.limits)


class ConcurrentServer(Server):
    """A server whose calls keep nobody waiting."""

    async def start(self) -> None:
        await self._setup_server_nodes()
        await self.iserver.start()
        host, port = self._get_bind_socket_info()
        self.bserver = Listener(self.iserver, str(host), int(port or 0), self.limits)
        self.bserver.set_policies(self._policies)
        await self.bserver.start()
