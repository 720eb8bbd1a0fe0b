"""Files as a browser sends them to a drop."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator
from io import BytesIO

from defectflow_ui.visits.uploads import Arrived, Drop
from PIL import Image
from running import finish
from support import swatch


def png(seed: int = 0) -> bytes:
    stream = BytesIO()
    Image.fromarray(swatch(seed)).save(stream, "png")
    return stream.getvalue()


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return stream.getvalue()


def send(drop: Drop, name: str, content: bytes, number: int | None = None) -> list[Arrived]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    before = len(drop.take(0, 0)[0])
    finish(drop.receive(name, chunks(), number))
    return drop.take(before, 0)[0]
