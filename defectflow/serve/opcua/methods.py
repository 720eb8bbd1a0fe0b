"""A client's call -> a request like any other, and its verdict. A refusal is a bad status code, and no verdict."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from asyncua import ua

from defectflow.errors import DataError
from defectflow.serve.cameras import Camera, Trigger, find_camera
from defectflow.serve.keys import Client
from defectflow.serve.problems import problem_of
from defectflow.serve.receive import Spool, remove, shown
from defectflow.serve.settings import MIB, LimitSettings
from defectflow.serve.switch import Switch
from defectflow.serve.work import Done, Job, Received, Work
from defectflow.store import Inspection

log = logging.getLogger(__name__)
_STATUS = {
    400: ua.StatusCodes.BadInvalidArgument,
    404: ua.StatusCodes.BadNotFound,
    409: ua.StatusCodes.BadInvalidState,
    422: ua.StatusCodes.BadInvalidArgument,
    429: ua.StatusCodes.BadTooManyOperations,
    503: ua.StatusCodes.BadResourceUnavailable,
}
"""The HTTP status that the same error would have -> what OPC UA calls it."""


@dataclass(frozen=True, slots=True)
class Doors:
    """What methods lead to."""

    work: Work
    spool: Spool
    switch: Switch
    cameras: Mapping[str, Camera]
    limits: LimitSettings
    folders: tuple[Path, ...]
    """A file must lie below one of them."""

    async def inspect_file(
        self, client: Client, path: str, part: str, lot: str, model: str, product: str
    ) -> Inspection:
        """Raises what `Work` raises, and DataError for a file that may not be read."""
        self.switch.require()
        content = await asyncio.to_thread(self._read, path)
        return await self._inspect(client, content, Path(path).name, part, lot, model, product)

    async def inspect_picture(
        self, client: Client, content: bytes, name: str, part: str, lot: str, model: str, product: str
    ) -> Inspection:
        """Raises what `Work` raises, and DataError for a picture over the limit."""
        self.switch.require()
        if not content or len(content) > self._most_bytes:
            raise DataError(
                f"picture: has {len(content):,} bytes; 1 to {self._most_bytes:,} (limits.picture_megabytes) are allowed"
            )
        return await self._inspect(client, content, name, part, lot, model, product)

    async def trigger(self, client: Client, camera: str, part: str, lot: str, model: str, product: str) -> Inspection:
        """Raises what `Camera` raises."""
        asked = Trigger(
            client=client.name, part=part or None, lot=lot or None, model=model or None, product=product or None
        )
        return await _first(find_camera(self.cameras, camera).trigger(asked))

    async def _inspect(
        self, client: Client, content: bytes, name: str, part: str, lot: str, model: str, product: str
    ) -> Inspection:
        digest = hashlib.sha256(content).hexdigest()
        received = Received(shown(name) or f"picture-{digest[:16]}", self.spool.new(name), digest)
        try:
            await asyncio.to_thread(received.path.write_bytes, content)
            job = Job(
                pictures=(received,),
                client=client.name,
                model=model or None,
                product=product or None,
                part=part or None,
                lot=lot or None,
            )
            self.work.submit(job)
        except BaseException:
            remove([received])
            raise
        job.future.add_done_callback(lambda _: remove([received]))
        return await _first(job.future)

    @property
    def _most_bytes(self) -> int:
        return round(self.limits.picture_megabytes * MIB)

    def _read(self, path: str) -> bytes:
        if not self.folders:
            raise DataError(f"{path}: no folder may be read (opcua.folders); name those that pictures lie in")
        real = (self.folders[0] / path).resolve()
        if not any(real.is_relative_to(folder.resolve()) for folder in self.folders):
            raise DataError(f"{path}: lies below none of the folders that may be read (opcua.folders)")
        try:
            if not real.is_file():
                raise DataError(f"{path}: no such file")
            if real.stat().st_size > self._most_bytes:
                raise DataError(f"{path}: over the limit of {self._most_bytes:,} bytes (limits.picture_megabytes)")
            return real.read_bytes()
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({error})") from error


async def _first(future: Future[Done]) -> Inspection:
    """Accepted pictures are judged also where the client has gone meanwhile."""
    done = await asyncio.shield(asyncio.wrap_future(future))
    return done.inspections[0]


def refusal(error: Exception) -> tuple[ua.StatusCode, str]:
    """What a client is told of an error: a status code, and words for `LastRefusal`."""
    if isinstance(error, DataError):
        return ua.StatusCode(ua.UInt32(ua.StatusCodes.BadInvalidArgument)), str(error)
    problem = problem_of(error)
    code = _STATUS.get(problem.status, ua.StatusCodes.BadInternalError)
    return ua.StatusCode(ua.UInt32(code)), problem.detail
