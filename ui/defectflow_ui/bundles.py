"""Bundles found in one folder; which of them is active; the active one loaded, once, after its checks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from defectflow.errors import BundleError
from defectflow.runtime import Inspector
from defectflow.runtime.bundle import CARD, MODEL, Bundle, open_bundle
from defectflow_ui.words import Models as words

ACTIVE = "active.json"


@dataclass(frozen=True, slots=True)
class Found:
    """A subfolder that holds a card: a bundle that opened, or why it cannot be used."""

    name: str
    """The folder's name, by which pages and the browser speak of it."""
    path: Path
    bundle: Bundle | None
    error: str | None = None


class Bundles:
    """The bundles of a folder. A name from the browser only ever selects among those that were found. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = Lock()
        self._opened: dict[Path, tuple[object, Found]] = {}
        self._inspector: tuple[object, Inspector] | None = None

    def all(self) -> list[Found]:
        """Every bundle in the folder, or the folder itself if it is one, by name. Unchanged ones are not checked again."""
        folders = [self.folder] if (self.folder / CARD).is_file() else sorted(self.folder.glob(f"*/{CARD}"))
        return [self._open(path.parent if path.name == CARD else path) for path in folders]

    def find(self, name: str) -> Bundle:
        """Raises BundleError where there is no usable bundle of this name."""
        found = next((found for found in self.all() if found.name == name), None)
        if found is None:
            raise BundleError(words.gone(name))
        if found.bundle is None:
            raise BundleError(found.error or words.gone(name))
        return found.bundle

    @property
    def active_name(self) -> str | None:
        """The activated bundle's name; where nobody has chosen and there is only one, that one."""
        try:
            chosen = str(json.loads((self.folder / ACTIVE).read_text(encoding="utf-8"))["bundle"])
        except (OSError, ValueError, KeyError, TypeError):
            usable = [found.name for found in self.all() if found.bundle is not None]
            return usable[0] if len(usable) == 1 else None
        return chosen

    def activate(self, name: str, who: str) -> Bundle:
        """From now on this bundle judges. Raises BundleError where it cannot be used."""
        bundle = self.find(name)
        said = {"bundle": name, "who": who, "when": datetime.now(UTC).isoformat(timespec="seconds")}
        partial = self.folder / f"{ACTIVE}.partial"
        partial.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
        partial.replace(self.folder / ACTIVE)
        return bundle

    def active(self) -> Bundle:
        """Raises BundleError where there is none, with what to do."""
        name = self.active_name
        if name is None:
            raise BundleError(words.none_active if self.all() else words.empty(self.folder))
        return self.find(name)

    def inspector(self) -> Inspector:
        """The active bundle, ready to judge: loaded once, and again where its files have changed."""
        bundle = self.active()
        state = _state(bundle.path)
        with self._lock:
            if self._inspector is None or self._inspector[0] != state:
                self._inspector = (state, Inspector(bundle))
            return self._inspector[1]

    def _open(self, path: Path) -> Found:
        state = _state(path)
        with self._lock:
            if path in self._opened and self._opened[path][0] == state:
                return self._opened[path][1]
        name = path.resolve().name
        try:
            found = Found(name, path, open_bundle(path))
        except (BundleError, OSError) as error:
            found = Found(name, path, None, str(error))
        with self._lock:
            self._opened[path] = (_state(path), found)
        return found


def _state(path: Path) -> object:
    """Changes whenever a bundle's model or card does."""
    return path, *((file.stat().st_mtime_ns, file.stat().st_size) for file in (path / CARD, path / MODEL) if file.is_file())
