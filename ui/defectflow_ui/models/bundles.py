"""Bundles found in one folder; which of them is active; the active one loaded, once, after its checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from defectflow.bundle import CARD, Bundle, files_state, name_of, open_bundle, open_family, save_bundle
from defectflow.errors import BundleError
from defectflow.line import Inspector
from defectflow.store import Versions
from defectflow_ui.words import models as words


@dataclass(frozen=True, slots=True)
class Found:
    """A subfolder that holds a card: a bundle that opened, or why it cannot be used."""

    name: str
    """The folder's name, by which pages and the browser speak of it; of one of several products, line/ring."""
    path: Path
    bundle: Bundle | None
    error: str | None = None


class Bundles:
    """The bundles of a folder. A name from the browser only ever selects among those that were found. Thread-safe."""

    def __init__(self, folder: Path, versions: Versions, provider: str = "cpu", core: bool = False) -> None:
        self.folder = folder
        self._versions = versions
        self._provider, self._core = provider, core
        self._lock = Lock()
        self._changing = Lock()
        self._opened: dict[Path, tuple[object, Found]] = {}
        self._loaded: tuple[object, Inspector, dict[str | None, Inspector]] | None = None
        """The active bundle; of several products, what judges each of them, all in one session."""

    def all(self) -> list[Found]:
        """Every bundle in the folder, or the folder itself if it is one, by name. Checked again once changed.

        Of a bundle of several products, each product is one.
        """
        cards = [self.folder / CARD] if (self.folder / CARD).is_file() else sorted(self.folder.glob(f"*/{CARD}"))
        return [self._open(path) for card in cards for path in _products_in(card.parent)]

    def find(self, name: str) -> Bundle:
        """Raises BundleError if there is no usable bundle of this name."""
        found = next((found for found in self.all() if found.name == name), None)
        if found is None:
            raise BundleError(words.gone(name))
        if found.bundle is None:
            raise BundleError(found.error or words.gone(name))
        return found.bundle

    @property
    def active_name(self) -> str | None:
        """The bundle that was activated last; where nothing ever was and only one is calibrated, that one."""
        found, last = self.all(), self._versions.active()
        if last is not None:
            return next((one.name for one in found if str(one.path.resolve()) == last.path), None)
        usable = [one.name for one in found if one.bundle is not None and one.bundle.card.calibration is not None]
        return usable[0] if len(usable) == 1 else None

    def activate(self, name: str, *, by: str, reason: str) -> Bundle:
        """From now on this bundle judges. Raises BundleError if it cannot be used, NotCalibrated."""
        bundle = self.find(name)
        self._versions.activate(bundle, by=by, reason=reason)
        return bundle

    def set_part_rule(self, name: str, expression: str, *, by: str) -> Bundle:
        """Keep in the bundle how a picture's name tells its part. Raises BundleError, NotCalibrated."""
        return self._describe(name, {"part_regex": expression}, by=by, reason=words.part_rule(expression))

    def set_scale(self, name: str, mm_per_px: float | None, *, by: str) -> Bundle:
        """Keep in the bundle how much a pixel shows; None: nobody knows. Raises BundleError, NotCalibrated."""
        return self._describe(name, {"mm_per_px": mm_per_px}, by=by, reason=words.scale(mm_per_px))

    def _describe(self, name: str, change: dict[str, object], *, by: str, reason: str) -> Bundle:
        """Change what the card of the model at work says beside scores and thresholds, and log it."""
        bundle = self.find(name)
        bundle.card.require_calibration()
        with self._changing:
            saved = save_bundle(bundle.path, bundle.card.model_copy(update=change))
        self._versions.activate(saved, by=by, reason=reason)
        return saved

    def active(self) -> Bundle:
        """Raises BundleError if there is none, with what to do."""
        name = self.active_name
        if name is None:
            raise BundleError(words.none_active if self.all() else words.empty(self.folder))
        return self.find(name)

    def judging(self, product: str | None = None) -> Bundle:
        """The active bundle; where it is one of several products, the one of this name. Raises BundleError."""
        bundle = self.active()
        if product is None or bundle.family is None or product == bundle.product:
            return bundle
        return self.find(bundle.name_of(product))

    def inspector(self, product: str | None = None) -> Inspector:
        """`judging(product)`, ready to judge: loaded once, and again where its files have changed."""
        bundle = self.judging(product)
        state = files_state(bundle.home)
        with self._lock:
            if self._loaded is None or self._loaded[0] != state:
                whole = Inspector(bundle.family or bundle, providers=[self._provider], core=self._core)
                self._loaded = state, whole, {}
            _, whole, named = self._loaded
            return named.setdefault(bundle.product, whole.of(bundle.product))

    def _open(self, path: Path) -> Found:
        state = files_state(path)
        with self._lock:
            if path in self._opened and self._opened[path][0] == state:
                return self._opened[path][1]
        name = name_of(path)
        try:
            found = Found(name, path, open_bundle(path))
        except (BundleError, OSError) as error:
            found = Found(name, path, None, str(error))
        with self._lock:
            self._opened[path] = (state, found)  # as it was before: what has changed meanwhile is looked at again
        return found


def _products_in(folder: Path) -> list[Path]:
    """The bundles of one product: the folder itself, or what lies in it of several."""
    try:
        family = open_family(folder)
    except BundleError:  # opening it as one says why
        return [folder]
    return [folder] if family is None else [family.folder(product) for product in family.names]
