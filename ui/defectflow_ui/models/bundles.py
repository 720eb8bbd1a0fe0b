"""Bundles found in one folder; which of them is active; the active one loaded, once, after its checks."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from defectflow.bundle import (
    AUTO,
    CARD,
    Bundle,
    files_state,
    name_of,
    open_bundle,
    open_family,
    save_bundle,
    write_name,
)
from defectflow.errors import BundleError, DataError
from defectflow.line import Inspector, certificate_file
from defectflow.store import ModelChanges, Versions
from defectflow_ui.words import models as words

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(?<!\.)")
"""What a model may be called: it is the name of its folder."""


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

    def __init__(
        self, folder: Path, versions: Versions, changes: ModelChanges, provider: str = "cpu", core: bool = False
    ) -> None:
        self.folder = folder
        self._versions, self._changes = versions, changes
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

    def of_model(self, name: str) -> list[Bundle]:
        """A model's bundles by its folder's name: one, or each product's. Raises BundleError if one is not usable."""
        of_it = [one.name for one in self.all() if one.name == name or one.name.startswith(f"{name}/")]
        return [self.find(one) for one in of_it or [name]]

    @property
    def active_name(self) -> str | None:
        """The bundle that was activated last; where nothing ever was and only one is calibrated, that one."""
        last = self._versions.active()
        if last is not None:
            return self._at(last.path)
        usable = self._calibrated()
        return usable[0] if len(usable) == 1 else None

    @property
    def activated_name(self) -> str | None:
        """The bundle that somebody has activated; None where nobody has, though the only one judges, or it is gone."""
        last = self._versions.active()
        return None if last is None else self._at(last.path)

    def is_activated(self, bundle: Bundle) -> bool:
        """Whether somebody has activated this bundle with the very thresholds that it has now."""
        last = self._versions.active()
        return last is not None and (last.path, last.calibration_id) == (
            str(bundle.path.resolve()),
            bundle.card.calibration_id,
        )

    def _at(self, path: str) -> str | None:
        return next((one.name for one in self.all() if str(one.path.resolve()) == path), None)

    def _calibrated(self) -> list[str]:
        return [one.name for one in self.all() if one.bundle is not None and one.bundle.card.calibration is not None]

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
        """Change what a model's card says beside scores and thresholds, and log it; the one at work stays the same."""
        bundle, active = self.find(name), name == self.active_name
        bundle.card.require_calibration()
        with self._changing:
            saved = save_bundle(bundle.path, bundle.card.model_copy(update=change))
        if active:
            self._versions.activate(saved, by=by, reason=reason)
        else:
            self._changes.write(saved.card, "described", reason, by=by)
        return saved

    def note(self, name: str, text: str, *, by: str) -> None:
        """Write what is to be known about a model. Raises BundleError, StoreError."""
        self._changes.write(self.find(name).card, "note", text.strip(), by=by)

    def rename(self, name: str, called: str, *, by: str) -> Bundle:
        """Give a model another name, and with it all its products; the active one stays active.

        Raises BundleError, DataError, StoreError.
        """
        together, target, active = self._with_its_products(name), self.free(called), self.active_name
        home = together[0].home
        names = [each.name for each in together]
        beside = [*map(certificate_file, together), evaluation_file(home)]
        with self._changing:
            for each in together:
                self._changes.write(each.card, "renamed", called, by=by)
            home.rename(target)
            write_name(target, called)
            moved = [open_bundle(target / each.path.relative_to(home)) for each in together]
            for old, new in zip(beside, (*map(certificate_file, moved), evaluation_file(target)), strict=True):
                with suppress(FileNotFoundError):
                    old.replace(new)
        for before, after in zip(names, moved, strict=True):
            if before == active:
                self._versions.activate(after, by=by, reason=words.renamed(before, after.name))
        return moved[names.index(name)]

    def delete(self, name: str, why: str, *, by: str) -> str:
        """Remove a model, with all its products, that is not at work; what it judged stays. Returns its name.

        Raises BundleError, StoreError.
        """
        together = self._with_its_products(name)
        home = together[0].home
        if self.active_name in [each.name for each in together]:
            raise BundleError(words.active_stays(home.name))
        with self._changing:
            for each in together:
                self._changes.write(each.card, "deleted", why.strip(), by=by)
            for beside in (*map(certificate_file, together), evaluation_file(home)):
                beside.unlink(missing_ok=True)
            (home / CARD).unlink()  # from here on it is no model any more, whatever happens
            shutil.rmtree(home)
        return home.name

    def _with_its_products(self, name: str) -> list[Bundle]:
        """A model of the station's folder, or each product of the one to which this belongs. Raises BundleError."""
        home = self.find(name).home
        if home.parent.resolve() != self.folder.resolve():  # the station was started on this very bundle, or within it
            raise BundleError(words.one_bundle_only(self.folder))
        return self.of_model(home.name)

    def free(self, name: str) -> Path:
        """Where a model of this name would lie. Raises DataError for a bad or taken name, BundleError."""
        if not NAME.fullmatch(name):
            raise DataError(words.bad_name(name))
        if (self.folder / CARD).is_file():
            raise BundleError(words.one_bundle_only(self.folder))
        target = self.folder / name
        if target.exists():
            raise DataError(words.name_taken(name))
        return target

    def active(self) -> Bundle:
        """Raises BundleError if there is none, with what to do."""
        name = self.active_name
        if name is None:
            if not self.all():
                raise BundleError(words.empty(self.folder))
            raise BundleError(words.none_active if self._calibrated() else words.none_calibrated)
        return self.find(name)

    def active_or_none(self) -> Bundle | None:
        """As `active`, for whoever can do without."""
        try:
            return self.active()
        except BundleError:
            return None

    def judging(self, product: str | None = None) -> list[Bundle]:
        """The active bundle; where it is one of several products, the one of this name, or with "auto" all of them.

        Raises BundleError.
        """
        bundle = self.active()
        if product is None or bundle.family is None or product == bundle.product:
            return [bundle]
        wanted = bundle.family.names if product == AUTO else (product,)
        return [self.find(bundle.name_of(name)) for name in wanted]

    def at_work(self) -> list[Bundle]:
        """The active bundle, or of several products each that can judge: by name, or as the nearest one.

        Raises BundleError.
        """
        found = self.judging(AUTO)
        return [bundle for bundle in found if bundle.card.calibration is not None] or found

    def inspector_of(self, bundle_id: str) -> Inspector | None:
        """What judged by this bundle, ready to judge again; None where it is not at work."""
        try:
            wanted = next((bundle for bundle in self.at_work() if bundle.card.bundle_id == bundle_id), None)
        except BundleError:
            return None
        return None if wanted is None else self.inspector(wanted.product)

    def inspector(self, product: str | None = None) -> Inspector:
        """`judging(product)`, ready to judge: loaded once, and again where its files have changed."""
        judging = self.judging(product)
        bundle, of = judging[0], AUTO if len(judging) > 1 else judging[0].product
        state = files_state(bundle.home)
        with self._lock:
            if self._loaded is None or self._loaded[0] != state:
                whole = Inspector(bundle.family or bundle, providers=[self._provider], core=self._core)
                self._loaded = state, whole, {}
            _, whole, named = self._loaded
            return named.setdefault(of, whole.of(of))

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


def evaluation_file(bundle: Path) -> Path:
    """Where a model's evaluation lies: beside its folder, as its certificate does."""
    folder = bundle.resolve()
    return folder.with_name(f"{folder.name}.evaluation.json")


def evaluation_of(bundle: Bundle) -> dict[str, Any] | None:
    """What `evaluate --json` has found of this model with these thresholds; None where there is nothing of them.

    Of a bundle of several products one file holds each product's.
    """
    with suppress(OSError, ValueError, KeyError):
        found = dict(json.loads(evaluation_file(bundle.home).read_text(encoding="utf-8")))
        card = bundle.card
        found = found if bundle.family is None else dict(found[bundle.product])
        if (found["bundle_id"], found["calibration_id"]) == (card.bundle_id, card.calibration_id):
            return found
    return None
