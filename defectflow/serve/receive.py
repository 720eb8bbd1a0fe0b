"""A request's body -> picture files in a folder of the service's own, within its limits of size, number and time."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from defectflow.common import claimed, remedy
from defectflow.errors import SettingsError
from defectflow.image import SUFFIXES
from defectflow.serve.problems import AGAIN_S, Problem
from defectflow.serve.settings import MIB, LimitSettings
from defectflow.serve.work import Received

log = logging.getLogger(__name__)
FOLDER = "defectflow-serve-"
LONGEST_NAME = 255
YOUNG_S = 60.0
"""A folder as young as this may be about to be claimed."""
FRAME = 2 * MIB
"""What a multipart body may hold besides pictures: boundaries, headers, fields."""


class Spool:
    """Where pictures lie until they are answered. Removed at the end; what a killed service left, at the next start."""

    def __init__(self) -> None:
        with suppress(OSError):
            _sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=FOLDER))
        self._claim = ExitStack()
        self._claim.enter_context(claimed(self.folder, self.folder / "claim"))

    def close(self) -> None:
        self._claim.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def new(self, name: str) -> Path:
        """A file's place; of its name, only a known suffix is taken over."""
        suffix = PurePosixPath(name).suffix.lower()
        return self.folder / f"{secrets.token_hex(16)}{suffix if suffix in SUFFIXES else ''}"


def remove(pictures: Iterable[Received]) -> None:
    for picture in pictures:
        with suppress(OSError):
            picture.path.unlink(missing_ok=True)


async def receive(
    request: Request, spool: Spool, limits: LimitSettings, name: str | None
) -> tuple[list[Received], dict[str, str]]:
    """The pictures of a raw or multipart body, and the form's other fields. Raises Problem; then nothing stays behind.

    `name`: of a raw picture; without one it is named by its content.
    """
    kept: list[Received] = []
    try:
        async with asyncio.timeout(limits.receive_s):
            if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data":
                return kept, await _form(request, spool, limits, kept)
            kept.append(await _raw(request, spool, limits, name))
            return kept, {}
    except TimeoutError as error:
        remove(kept)
        raise Problem(
            408, f"the request has not arrived after {limits.receive_s:g} s (limits.receive_s); send it again"
        ) from error
    except ClientDisconnect as error:
        remove(kept)
        raise Problem(400, "the connection ended before the request had arrived") from error
    except OSError as error:
        remove(kept)
        said = f"{spool.folder}: an arriving picture cannot be written ({error.strerror}); {remedy(error)}"
        log.error("%s", said)
        raise Problem(507, said, headers={"Retry-After": str(AGAIN_S)}) from error
    except BaseException:
        remove(kept)
        raise


async def _raw(request: Request, spool: Spool, limits: LimitSettings, name: str | None) -> Received:
    digest, path = hashlib.sha256(), spool.new(name or "")
    try:
        with path.open("xb") as file:
            async for chunk in _limited(request, round(limits.picture_megabytes * MIB), limits):
                digest.update(chunk)
                file.write(chunk)
            size = file.tell()
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    if not size:
        path.unlink()
        raise Problem(400, "the body is empty; send a picture's bytes, or multipart/form-data with one or more files")
    return Received(shown(name) if name else f"picture-{digest.hexdigest()[:16]}", path, digest.hexdigest())


async def _form(request: Request, spool: Spool, limits: LimitSettings, kept: list[Received]) -> dict[str, str]:
    most = round(limits.pictures * limits.picture_megabytes * MIB) + FRAME
    form = FormData()
    try:
        parser = MultiPartParser(
            request.headers, _limited(request, most, limits), max_files=limits.pictures, max_fields=20
        )
        form = await parser.parse()
        for _, upload in form.multi_items():
            if isinstance(upload, UploadFile):  # each as it comes: where one fails, those before it are removed
                kept.append(await asyncio.to_thread(_keep, upload, spool, limits))
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise Problem(
                413, f"more than {limits.pictures} pictures in one request (limits.pictures); send several requests"
            ) from error
        raise Problem(400, f"the multipart body cannot be read: {error.message}") from error
    finally:
        await form.close()
    if not kept:
        raise Problem(400, "the form holds no file; send one or more pictures as files")
    return {field: value for field, value in form.multi_items() if isinstance(value, str)}


def _keep(upload: UploadFile, spool: Spool, limits: LimitSettings) -> Received:
    name = shown(upload.filename or "")
    if (upload.size or 0) > limits.picture_megabytes * MIB:
        raise _too_large(f"{name}: ", limits)
    path = spool.new(name)
    with path.open("xb") as file:
        shutil.copyfileobj(upload.file, file, MIB)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Received(name or f"picture-{digest[:16]}", path, digest)


async def _limited(request: Request, most: int, limits: LimitSettings) -> AsyncGenerator[bytes, None]:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most:
        raise _too_large("", limits)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > most:
            raise _too_large("", limits)
        yield chunk


def _too_large(name: str, limits: LimitSettings) -> Problem:
    return Problem(
        413,
        f"{name}over the limit of {limits.picture_megabytes:g} MiB per picture (limits.picture_megabytes); send it "
        "compressed, or raise the limit",
    )


def shown(name: str) -> str:
    """A file's name as it is recorded: without control characters, and no longer than a name may be."""
    return re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", "?", name)[-LONGEST_NAME:]


def _sweep() -> None:
    """Remove what services that were killed have left: their claims are free."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        found = folder.lstat()
        ours = not hasattr(os, "getuid") or found.st_uid == os.getuid()
        if ours and folder.is_dir() and not folder.is_symlink() and time.time() - found.st_mtime > YOUNG_S:
            with suppress(SettingsError, OSError), claimed(folder, folder / "claim"):
                shutil.rmtree(folder)
