"""A model's name -> its inspector, kept warm. The station's activations and roll-backs are followed while requests run.

A bundle whose files have changed, say by a roll-back, is opened again at the next request. What judges is what was
checked: an inspector holds one model and one calibration for its whole life, and every answer names them.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from defectflow.bundle import CARD, PRODUCTS, Bundle, Family, files_state, open_bundle, open_family
from defectflow.errors import BundleError, DataError, UnknownModel
from defectflow.line import Inspector
from defectflow.serve.settings import ServeSettings
from defectflow.store import InForce, Store

HOW = "defectflow versions activate BUNDLE --store STORE --reason WHY, or in the station"


@dataclass(frozen=True, slots=True)
class Found:
    """A bundle of the folder, or why it cannot be used."""

    name: str
    path: Path
    bundle: Bundle | Family | None
    error: str | None
    active: bool
    warm: bool


class Models:
    """The bundles of a folder, or one. A client's name only ever selects among those that are there. Thread-safe."""

    def __init__(self, settings: ServeSettings, store: Store) -> None:
        """Raises DataError if there is no such folder, SettingsError for an unknown provider."""
        self._folder = settings.models
        self._settings = settings
        self._store = store
        self._lock = Lock()
        self._warm: OrderedDict[Path, tuple[object, Inspector]] = OrderedDict()
        if not self._folder.is_dir():
            raise DataError(f"{self._folder}: no such folder; set models to the folder that holds your bundles")

    def paths(self) -> dict[str, Path]:
        """The folders that hold a card, by name; or the folder itself if it is a bundle."""
        if (self._folder / CARD).is_file():
            return {self._folder.resolve().name: self._folder}
        return {file.parent.name: file.parent for file in sorted(self._folder.glob(f"*/{CARD}"))}

    def active(self, held: InForce) -> Path:
        """The bundle that judges where a request names none: activated last; if none ever was, the only one there.

        Raises BundleError with what to do.
        """
        paths, last = self.paths(), held.active
        if last is not None:
            found = next((path for path in paths.values() if str(path.resolve()) in _homes(last.path)), None)
            if found is None:
                raise BundleError(
                    f"{last.path}: is active, but not in {self._folder}; activate one that is there: {HOW}"
                )
            return found
        if not paths:
            raise BundleError(f"{self._folder}: holds no bundle; put one there: defectflow fit GOOD --out FOLDER/NAME")
        if len(paths) > 1:
            raise BundleError(
                f"{self._folder}: holds {len(paths)} bundles and none is active; activate one ({HOW}), or name one in "
                "each request"
            )
        return next(iter(paths.values()))

    def inspector(self, name: str | None, held: InForce | None = None) -> Inspector:
        """The bundle of this name, or the active one, ready to judge: loaded once, and again where its files changed.

        `held`: what the store says of the active one, where the caller has just asked it.
        Raises UnknownModel, BundleError, NotCalibrated.
        """
        if name is None:
            path = self.active(held or self._store.in_force())
        else:
            paths = self.paths()
            if name not in paths:
                raise UnknownModel(
                    f"model {name!r}: there is none of this name; there are {', '.join(paths) or 'none'}"
                )
            path = paths[name]
        with self._lock:
            state = files_state(path)
            if path not in self._warm or self._warm[path][0] != state:
                self._warm.pop(path, None)
                while len(self._warm) >= self._settings.warm_models:
                    self._warm.popitem(last=False)
                self._warm[path] = (state, self._load(path))
            self._warm.move_to_end(path)
            return self._warm[path][1]

    def all(self) -> list[Found]:
        """Every bundle of the folder, by name."""
        try:
            active: Path | None = self.active(self._store.in_force())
        except BundleError:
            active = None
        return [self._found(name, path, path == active) for name, path in self.paths().items()]

    def _load(self, path: Path) -> Inspector:
        bundle = open_family(path) or open_bundle(path)
        if isinstance(bundle, Bundle):  # of several products one may lack thresholds, and the others judge
            bundle.card.require_calibration()
        settings = self._settings
        return Inspector(bundle, providers=[settings.provider], threads=settings.threads, batch=settings.batch.pictures)

    def _found(self, name: str, path: Path, active: bool) -> Found:
        with self._lock:
            state, inspector = self._warm.get(path, (None, None))
        warm = inspector is not None and state == files_state(path)
        try:
            if warm and inspector is not None:
                bundle: Bundle | Family = inspector.family or inspector.bundle
            else:
                bundle = open_family(path) or open_bundle(path)
        except (BundleError, OSError) as error:
            return Found(name, path, None, str(error), active, warm)
        return Found(name, path, bundle, None, active, warm)


def _homes(active: str) -> tuple[str, ...]:
    """What is at work where this was activated: it, or where it is one of several products, the bundle of all."""
    path = Path(active)
    return (active, str(path.parent.parent)) if path.parent.name == PRODUCTS else (active,)
