"""An archive of any size -> its pictures, one after another: from a folder, or through fsspec from an object store.

The pictures, parts, labels and kinds are those of `look_through`; their order is that of the disk. Memory holds the
names of one folder at a time, and all names only of a labelled tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from defectflow.data.files import is_to_be_looked_at, walk_once
from defectflow.data.find import MANIFEST
from defectflow.data.layouts import recognise_streamed
from defectflow.data.manifest import SUFFIXES as MANIFEST_SUFFIXES
from defectflow.data.pictures import PartNames, Picture
from defectflow.errors import DataError, SettingsError
from defectflow.image import HEADER_BYTES, READ, SUFFIXES, is_picture, read_mask

MILLISECOND_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of an archive, as its listing has it."""

    name: PurePosixPath
    """Relative to the archive."""
    size_bytes: int = 0
    modified_ns: int = 0


@dataclass(slots=True)
class Archive:
    """A folder, or a prefix of an object store. Raises DataError, SettingsError as `look_through` does."""

    address: str
    """A folder's path, or a URL such as s3://bucket/pictures."""
    skipped: list[str] = field(default_factory=list)
    """The first names of files that are not looked at, of those seen by the last `files`."""
    skipped_count: int = 0

    @property
    def is_remote(self) -> bool:
        return is_url(self.address)

    def files(self) -> Iterator[Listed]:
        """Every picture, folder by folder, and in each folder by name. Says what is wrong with an unusable address."""
        self.skipped, self.skipped_count = [], 0
        seen = False
        for listed in self._objects() if self.is_remote else self._local():
            seen = True
            yield listed
        if not seen:
            said = "; ".join(["no pictures found", *self.left_out_notes()])
            raise DataError(f"{self.address}: {said}; accepted are {READ}")

    def pictures(self, names: Callable[[], Iterable[PurePosixPath]], usual_part_regex: str | None) -> Iterator[Picture]:
        """Pictures of the names that `files` has given. A name that the regex does not match names its own part."""
        parts = PartNames.by(usual_part_regex, strict=False)
        _, entries = recognise_streamed(names, self._is_blank)
        for entry in entries:
            part, known = parts.of(str(entry.name))
            path = Path(entry.name) if self.is_remote else Path(self.address) / entry.name
            yield Picture(path, part, entry.label, entry.kind, None, entry.split, known, str(entry.name))

    def left_out_notes(self) -> list[str]:
        """What the last `files` has not given; nothing where it gave everything."""
        if not self.skipped_count:
            return []
        files = "1 file" if self.skipped_count == 1 else f"{self.skipped_count} files"
        more = ", ..." if self.skipped_count > len(self.skipped) else ""
        return [f"{files} skipped: {', '.join(self.skipped)}{more}"]

    def _local(self) -> Iterator[Listed]:
        """As `files.walk`, without its sorted whole."""
        base, locked = Path(self.address), list[Path]()
        for here, _, files in walk_once(base, locked):
            for one in sorted(files):
                if is_to_be_looked_at(here / one):
                    yield Listed(PurePosixPath((here / one).relative_to(base).as_posix()))
                else:
                    self._skip((here / one).relative_to(base).as_posix())
        for path in locked:  # whoever reads them learns why, and no picture is missed silently
            yield Listed(PurePosixPath(path.relative_to(base).as_posix()))

    def _objects(self) -> Iterator[Listed]:
        system, root = open_store(self.address)
        try:
            if system.isfile(root):
                what = "a manifest" if PurePosixPath(root).suffix.lower() in MANIFEST_SUFFIXES else "a single object"
                raise DataError(f"{self.address}: is {what}, and object stores are read by prefix; give its folder")
            for here, folders, files in system.walk(root, detail=True):
                for hidden in [name for name in folders if name.startswith(".")]:
                    del folders[hidden]
                for name, known in sorted(files.items()):
                    relative = PurePosixPath(f"{here}/{name}").relative_to(root)
                    if not name:  # an object that only stands for its folder
                        continue
                    if relative == PurePosixPath(MANIFEST):
                        raise DataError(
                            f"{self.address}: holds {MANIFEST}, and manifests are read from folders only; put it "
                            "and the pictures on a shared disk, or give a prefix without it"
                        )
                    if not _is_object_a_picture(system, f"{here}/{name}", name):
                        self._skip(str(relative))
                        continue
                    yield Listed(relative, int(known.get("size") or 0), _modified_ns(known))
        except DataError:
            raise
        except Exception as error:  # each store has its own types, of connections and of credentials
            raise DataError(f"{self.address}: cannot be listed ({error}); {_REACH}") from error

    def _skip(self, name: str) -> None:
        self.skipped_count += 1
        if len(self.skipped) < 5:
            self.skipped.append(name)

    def _is_blank(self, mask: PurePosixPath) -> bool:
        if not self.is_remote:
            return not read_mask(Path(self.address) / mask).any()
        system, root = open_store(self.address)
        with TemporaryDirectory() as folder:
            copy = Path(folder) / mask.name
            system.get_file(f"{root}/{mask}", str(copy))
            return not read_mask(copy).any()


_REACH = "see that the bucket and the credentials are right, and that this machine reaches the store"


def is_url(address: str) -> bool:
    return "://" in address


def open_store(url: str) -> tuple[Any, str]:
    """An fsspec file system and the path in it, without a slash at its end. Raises SettingsError."""
    try:
        import fsspec

        # Listings are not kept: pictures that arrive later must be seen, and memory must stay flat.
        system, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise SettingsError(
            f"{url}: {error}; object stores are read through fsspec: pip install 'defectflow[ray]', and for other "
            "stores than S3 the package that it names"
        ) from error
    return system, str(root).rstrip("/")


def _is_object_a_picture(system: Any, path: str, name: str) -> bool:
    if name.startswith("."):
        return False
    if PurePosixPath(name).suffix.lower() in SUFFIXES:
        return True
    try:
        return is_picture(system.cat_file(path, start=0, end=HEADER_BYTES))
    except OSError:  # nobody knows what it is, so it must not be missed
        return True


def _modified_ns(known: dict[str, Any]) -> int:
    """When an object was written, as its listing says: to the millisecond, which all stores keep; 0: unknown."""
    at = known.get("LastModified") or known.get("last_modified") or known.get("updated") or known.get("created")
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    seconds = at.timestamp() if isinstance(at, datetime) else float(known.get("mtime") or at or 0)
    return round(seconds * 1000) * MILLISECOND_NS
