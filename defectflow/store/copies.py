"""A picture -> where it can be looked at later: where it lies, or in a copy of the store's own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Literal

from defectflow.bundle import file_digest
from defectflow.common import atomic_write, remedy
from defectflow.errors import StoreError
from defectflow.image import SUFFIXES
from defectflow.store.database import Database
from defectflow.store.rows import Inspection, Seen
from defectflow.store.settings import StoreSettings

Kept = Literal["path", "copy"]
_COPY = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{62}(\.[a-z0-9]+)?")
"""What `copy_name` gives."""


def copy_name(sha256: str, picture: Path) -> str:
    """The name of a picture's copy inside the folder of copies."""
    suffix = picture.suffix.lower()
    return f"{sha256[:2]}/{sha256}{suffix if suffix in SUFFIXES else ''}"


def copy_file(folder: Path, name: str) -> Path | None:
    """Where the copy of this name lies; None for a name that the store does not give.

    A database may have been written to by others: no name in it leads out of the folder.
    """
    return folder / name if _COPY.fullmatch(name) else None


class Copies:
    """The pictures of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def kept_as(self, settings: StoreSettings, *, temporary: bool) -> Kept | None:
        """How a picture is kept by these settings; None: not at all. `temporary`: its file will go."""
        match settings.pictures:
            case "copy":
                return "copy"
            case "path" if not temporary:
                return "path"
            case "path" if self.has_folder(settings):
                return "copy"
        return None  # `none`; or no one has asked for copies, so a server without a folder for them is not a mistake

    def keep(self, seen: Seen, sha256: str | None, settings: StoreSettings) -> tuple[Kept | None, str | None]:
        """How the picture is kept, and its path or the name of its copy. Raises StoreError if it cannot be."""
        kept = self.kept_as(settings, temporary=seen.temporary)
        if kept is None or seen.picture is None or sha256 is None:
            return None, None
        if kept == "path":
            return "path", str(seen.picture.absolute())
        name = copy_name(sha256, seen.picture)
        copy = self.folder(settings) / name
        if not copy.is_file():
            try:
                copy.parent.mkdir(parents=True, exist_ok=True)
                with atomic_write(copy) as partial:
                    shutil.copyfile(seen.picture, partial)
            except OSError as error:
                raise StoreError(f"{copy}: the picture cannot be kept ({error.strerror}); {remedy(error)}") from error
        return "copy", name

    def find(self, inspection: Inspection, settings: StoreSettings) -> Path | None:
        """Where an inspection's picture can be read now; None where none was kept, or it is gone."""
        match inspection.kept, inspection.picture:
            case "path", str(path):
                file = Path(path)
                # The path may show another picture by now, which would be answered in the first one's name.
                return file if file.is_file() and file_digest(file) == inspection.sha256 else None
            case "copy", str(name):
                copy = copy_file(self.folder(settings), name)
                return copy if copy is not None and copy.is_file() else None
        return None

    def has_folder(self, settings: StoreSettings) -> bool:
        return settings.picture_folder is not None or self._database.file is not None

    def folder(self, settings: StoreSettings) -> Path:
        """Where copies lie. Raises StoreError if there is no place for them."""
        if settings.picture_folder is not None:
            return settings.picture_folder
        file = self._database.file
        if file is None:
            raise StoreError(f"{self._database}: has no folder for pictures; set picture_folder")
        return file.with_name(f"{file.name}.pictures")
