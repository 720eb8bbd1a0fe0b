"""What may be learned from: uploads, folders and manifests on this machine, and the pictures of an earlier model.

The browser only ever selects among what is offered here. Uploads lie under numbers of the station's own; what people
call their pictures stands in the manifest beside them, and is only shown and searched for parts.
"""

from __future__ import annotations

import csv
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePosixPath

from defectflow.bundle import CARD, Bundle, fitted_digests, fitted_parts
from defectflow.data import SUFFIXES as MANIFEST_SUFFIXES
from defectflow.data import find_pictures, manifest_rows, stem_of
from defectflow.data.refit_manifest import Refit, plan_refit
from defectflow.errors import DataError, DefectFlowError
from defectflow.image import SUFFIXES, pixel_digest, read_raw
from defectflow.line import RUN
from defectflow.store import Store
from defectflow_ui.disk_errors import writing
from defectflow_ui.models.bundles import Bundles
from defectflow_ui.visits.uploads import Arrived
from defectflow_ui.words import train as words

MANIFEST = "manifest.csv"
UPLOADED, FOLDER, AGAIN = "uploaded:", "folder:", "again:"
"""What a source's value begins with: an upload, a folder or manifest of the data folder, a model's own pictures."""
DEEPEST = 3
"""Levels of folders that are offered."""
MOST_FOLDERS = 500
KEPT_UPLOADS = 3
"""Uploads that are kept to be learned from; older ones go when a new one comes."""
LOOKED_AT = 3
"""Pictures by which the folder that a model was fitted on is recognised."""


class Sources:
    """All that this station can learn from."""

    def __init__(self, uploads: Path, data: Path | None, bundles: Bundles, store: Store) -> None:
        """`data`: the folder below which pictures on this machine may be chosen; None: only uploads."""
        self._uploads = uploads
        self._data = None if data is None else data.resolve()
        self._bundles = bundles
        self._store = store

    def all(self) -> list[tuple[str, str]]:
        """(label, value): uploads, the newest first; folders and manifests, by name; models, to be fitted again."""
        uploads = sorted(self._uploads.glob(f"*/{MANIFEST}"), key=lambda file: -file.stat().st_mtime)
        found = [(words.uploaded(len(manifest_rows(file))), f"{UPLOADED}{file.parent.name}") for file in uploads]
        if self._data is not None:
            for path in islice(_data_sources(self._data, DEEPEST), MOST_FOLDERS):
                name = path.relative_to(self._data).as_posix()
                found.append((words.folder(name), f"{FOLDER}{name}"))
        models = [one.name for one in self._bundles.all() if one.bundle is not None]
        return [*found, *((words.again(name), f"{AGAIN}{name}") for name in models)]

    def recipes(self) -> dict[str, Path]:
        """YAML files that lie in the data folder, by name."""
        return {} if self._data is None else {path.name: path for path in sorted(self._data.glob("*.yaml"))}

    def path(self, value: str) -> Path:
        """Where a source that is on offer lies. Raises DataError for anything else."""
        if value not in [offered for _, offered in self.all()]:
            raise DataError(words.no_such_source)
        return self._originals(value.removeprefix(AGAIN)) if value.startswith(AGAIN) else self._place(value)

    def refit(self, value: str) -> Refit | None:
        """What to fit again on; None where the source is not a model. Raises DataError if its pictures are gone."""
        if not value.startswith(AGAIN):
            return None
        originals = self.path(value)
        return plan_refit(self._bundles.find(value.removeprefix(AGAIN)), originals, self._store)

    def _place(self, value: str) -> Path:
        if value.startswith(FOLDER) and self._data is not None:
            return self._data / value.removeprefix(FOLDER)
        return self._uploads / value.removeprefix(UPLOADED) / MANIFEST

    def _originals(self, name: str) -> Path:
        """The source that a model was fitted on: the one that has most of its parts. Raises DataError."""
        bundle = self._bundles.find(name)
        places = [self._place(value) for _, value in self.all() if not value.startswith(AGAIN)]
        count, path = max(((_parts_of(bundle, place), place) for place in places), default=(0, None))
        if path is None or not count:
            raise DataError(words.originals_gone(name, len(fitted_parts(bundle)), self._data is not None))
        return path

    def take_upload(self, arrived: list[Arrived], keep: Collection[Path]) -> str:
        """Pictures of a drop -> their own source. Older ones go, unless `keep` names their manifest.

        Raises DataError if there is no picture among them, or no room for them; then nothing of them is kept.
        """
        pictures = [(one.name.strip(), one.file) for one in arrived if one.file is not None]
        if not pictures:
            raise DataError(words.nothing_uploaded)
        folder = self._uploads / secrets.token_hex(8)
        try:
            with writing(words.this_upload):
                folder.mkdir(parents=True)
                _copy(pictures, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        for old in sorted(self._uploads.iterdir(), key=lambda path: -path.stat().st_mtime)[KEPT_UPLOADS:]:
            if old / MANIFEST not in keep:
                shutil.rmtree(old, ignore_errors=True)
        return f"{UPLOADED}{folder.name}"

    def names(self, source: Path) -> dict[str, str]:
        """A source's pictures by path -> what they are called; the server's folders are nobody's business."""
        with suppress(DefectFlowError):
            return {str(picture.path): picture.name for picture in find_pictures(source)}
        return {}


def _copy(pictures: list[tuple[str, Path]], folder: Path) -> None:
    """(name, file) of each picture -> files under numbers, and the manifest that names them, which comes last."""
    rows = [("path", "name")]
    names = _distinct([name for name, _ in pictures])
    for number, (name, (_, file)) in enumerate(zip(names, pictures, strict=True)):
        suffix = PurePosixPath(name).suffix.lower()
        rows.append((f"{number:06}{suffix if suffix in SUFFIXES else '.png'}", name))
        shutil.copyfile(file, folder / rows[-1][0])
    with (folder / MANIFEST).open("w", encoding="utf-8", newline="") as manifest:
        csv.writer(manifest).writerows(rows)


def _distinct(names: list[str]) -> Iterator[str]:
    """Names of pictures, none of which is another's even without suffix: each may be a part's name."""
    taken = set[str]()
    for name in names:
        stem = fresh = stem_of(name)
        number = 1
        while fresh in taken:
            number += 1
            fresh = f"{stem} ({number})"
        taken.add(fresh)
        yield name if fresh == stem else f"{fresh}{PurePosixPath(name).suffix}"


def _parts_of(bundle: Bundle, source: Path) -> int:
    """How many parts that the bundle was fitted on a source has: by their names, if the pixels of some agree."""
    sides, digests = fitted_parts(bundle), fitted_digests(bundle)
    with suppress(DefectFlowError, OSError):
        pictures = find_pictures(source, label="good", usual_part_regex=bundle.card.part_regex)
        known = [picture for picture in pictures if picture.part in sides and picture.split != "test"]
        known = [picture for picture in known if bundle.product is None or picture.product in (None, bundle.product)]
        some = known[:: max(1, len(known) // LOOKED_AT)][:LOOKED_AT]
        if all(pixel_digest(read_raw(picture.path)) in digests for picture in some):
            return len({picture.part for picture in known})
    return 0


def _data_sources(folder: Path, depth: int) -> Iterator[Path]:
    """Folders that hold pictures, and manifests; a tree of a known form counts as one. Links are not followed."""
    try:
        if _made_here(folder):
            return
        entries = sorted(one for one in folder.iterdir() if not one.name.startswith(".") and not one.is_symlink())
        files, folders = [one for one in entries if one.is_file()], [one for one in entries if one.is_dir()]
        whole = (folder / MANIFEST).is_file() or (folder / "train" / "good").is_dir()
    except OSError:  # lost+found, say, which is root's own
        return
    if whole or any(file.suffix.lower() in SUFFIXES for file in files):
        yield folder
    yield from (file for file in files if file.suffix.lower() in MANIFEST_SUFFIXES and file.name != MANIFEST)
    if not whole and depth:
        for inner in folders:
            yield from _data_sources(inner, depth - 1)


def _made_here(folder: Path) -> bool:
    """Whether it is a bundle, results of `score`, or a store's copies: nothing that is meant to be learned from."""
    copies = folder.suffix == ".pictures" and folder.with_suffix("").is_file()
    return copies or any((folder / name).is_file() for name in (CARD, RUN))
