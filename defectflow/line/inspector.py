"""Bundle + pictures -> measurements and verdicts, without torch. What runs on the line.

    inspector = Inspector(Path("models/bracket"))
    for verdict in inspector.inspect(paths): ...

A score never depends on what else is in the batch: pictures are put together only to save time.
"""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from defectflow.bundle import (
    ANY_PRODUCT,
    AUTO,
    PRODUCT,
    PRODUCT_INDEX,
    RECTANGLE,
    SCORING_OUTPUTS,
    SQUARE,
    TILE_OUTPUTS,
    VERDICT_OUTPUTS,
    Bundle,
    Card,
    Family,
    ImageCard,
    bundles_of,
    open_bundle,
    open_family,
    read_core,
    several,
)
from defectflow.common import are_limited, usable_cores
from defectflow.errors import BundleError, ImageError, UnknownProduct
from defectflow.image import Geometry, PictureFile, PictureForm, Tiling, read_image_file, to_square
from defectflow.line.providers import CPU, PROVIDER_OPTIONS, check_runs_on, find_providers, short_name
from defectflow.verdict import (
    Calibration,
    Decision,
    Measurement,
    Verdict,
    decide,
    is_gated,
    marked_places,
    resembles_in_places,
)

Plain = Path | str | NDArray[np.uint8]
"""A picture file, or its pixels (H, W, 3) uint8 RGB."""
Source = Plain | tuple[Plain, str | None]
"""A picture, or (picture, the product that it shows); None there: the one that it resembles most."""

BATCH_PICTURES = 8
BATCH_PIXELS = 8_000_000
"""Pictures of one size are put together up to these limits, so that memory stays bounded."""
DECODERS = 2
"""Threads that decode while the graph runs; at least so many pictures are held ready."""

TILED = ("score", "anomaly_map", "embedding", *TILE_OUTPUTS)
"""What a picture's values are made of where the graph sees tiles."""


def chosen_number(bundle: Bundle | Family, product: str | None) -> int | None:
    """The place of the bundle that judges all pictures; None: each picture's own product does.

    Raises UnknownProduct.
    """
    if isinstance(bundle, Family):
        return None if product in (None, AUTO) else bundle.number(str(product))
    if product not in (None, AUTO, bundle.product):
        knows = "one product only" if bundle.product is None else f"{bundle.product} only"
        raise UnknownProduct(f"product {product!r}: {bundle.path} judges {knows}; leave the product out")
    return 0


def chosen_bundles(bundle: Bundle | Family, product: str | None) -> list[Bundle]:
    """Those that may judge a picture: one, or each product's. Raises UnknownProduct, BundleError."""
    number = chosen_number(bundle, product)
    bundles = [bundle] if isinstance(bundle, Bundle) else bundles_of(bundle)
    return bundles if number is None else [bundles[number]]


class Inspector:
    """A bundle ready to judge. Raises BundleError if the bundle cannot be trusted or run."""

    def __init__(
        self,
        bundle: Path | str | Bundle | Family,
        *,
        product: str | None = None,
        providers: Sequence[str] = (CPU,),
        threads: int = 0,
        batch: int = BATCH_PICTURES,
        core: bool = False,
    ) -> None:
        """`product`: of a bundle of several, which one all pictures show; "auto", or None: each picture is judged as
        the product that it resembles most, and is invalid if it resembles none.
        `providers`: by ONNX Runtime's names or short ones, as "cuda"; a provider that cannot run is refused.

        `threads`: of one inference, 0 for all cores that this process may use.
        `batch`: most pictures or tiles in one inference.
        `core`: run the graph from the resized square on, and resize here: for providers that cannot antialias.
        """
        if not isinstance(bundle, Bundle | Family):
            bundle = open_family(bundle) or open_bundle(bundle)
        self.family = bundle if isinstance(bundle, Family) else bundle.family
        """Where the graph judges several products: what holds it."""
        self._bundles = [bundle] if isinstance(bundle, Bundle) else bundles_of(bundle)
        """By product, in the order of their numbers in the graph; or the one bundle there is."""
        self._only = chosen_number(bundle, product)
        wanted = find_providers(providers)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or (usable_cores() if are_limited() else 0)
        # Threads that spin while they wait save microseconds alone, and take the cores that decoding and others need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors only: the rest is noise on an operator's console
        # What is checked is what runs: calibrated since it was opened, the file would judge by other thresholds.
        first = self._bundles[0]
        content = read_core(first) if core else first.read_model()
        provider_options = [PROVIDER_OPTIONS.get(name, {}) for name in wanted]
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=wanted, provider_options=provider_options
            )
        except Exception as error:  # ONNX Runtime raises types of its C++ side
            raise BundleError(f"{first.model}: ONNX Runtime cannot load it: {error}") from error
        check_runs_on(self._session, wanted)
        self._batch = batch
        self._core = core
        self.runs_on = ", ".join([*map(short_name, wanted), *(["core"] if core else [])])
        """Its providers, and whether it runs the core alone, in short: 'CPU', 'CUDA, core'."""

    @property
    def bundle(self) -> Bundle:
        """What judges. Raises BundleError where each picture's own product does: then there are several."""
        if self._only is not None:
            return self._bundles[self._only]
        assert self.family is not None
        raise several(self.family)

    @property
    def card(self) -> Card:
        """Of `bundle`. Raises BundleError where there are several."""
        return self.bundle.card

    @property
    def is_open(self) -> bool:
        """Whether each picture is judged as its own product, and not all as one."""
        return self._only is None

    @property
    def path(self) -> Path:
        """The folder of what judges."""
        return self.family.path if self._only is None and self.family is not None else self.bundle.path

    @property
    def bundles(self) -> tuple[Bundle, ...]:
        """All that may judge a picture: one, or each product's."""
        return tuple(self._bundles) if self._only is None else (self.bundle,)

    @property
    def image(self) -> ImageCard:
        """How pictures are read; the same for all products."""
        return self._bundles[0].card.image

    def card_of(self, product: str | None) -> Card:
        """What judges a product's pictures; of a picture that could not be read, the first one's."""
        return next((each.card for each in self.bundles if each.product == product), self.bundles[0].card)

    @property
    def _calibrated(self) -> Sequence[Bundle]:
        """Those with thresholds; where there are none, the first, which says so when it is asked for them."""
        return [each for each in self.bundles if each.card.calibration is not None] or self.bundles[:1]

    def recorded_as(self, product: str | None) -> Card:
        """Under which card a store keeps what came of a product's picture: where the product has no thresholds, that
        of the first one that has some."""
        card = self.card_of(product)
        return self._calibrated[0].card if card.calibration is None else card

    def of(self, product: str | None) -> Inspector:
        """The same session for one of its products, or "auto". Raises UnknownProduct."""
        other = copy.copy(self)
        whole = self.family is not None and len(self._bundles) == len(self.family.names)
        other._only = chosen_number(self.family if whole and self.family is not None else self.bundle, product)
        return other

    def in_batches_of(self, batch: int) -> Inspector:
        """The same session with another batch size."""
        other = copy.copy(self)
        other._batch = batch
        return other

    def inspect(self, sources: Iterable[Source]) -> Iterator[Verdict | ImageError]:
        """One verdict per picture, in order; for a picture that cannot be used, the error instead.

        A picture of a product without thresholds cannot be used; the other products are judged. Raises NotCalibrated
        before the first picture if nothing here has thresholds.
        """
        calibrations = {each.product: each.card.require_calibration() for each in self._calibrated}

        def judged(item: _Output | ImageError) -> Verdict | ImageError:
            if isinstance(item, ImageError):
                return item
            if (calibration := calibrations.get(item.bundle.product)) is None:
                return ImageError(
                    f"{item.picture.name}: shows product {item.bundle.product!r}, which is uncalibrated; give it "
                    f"thresholds: defectflow calibrate {item.bundle.path} --good DIR"
                )
            return self._judge(item, calibration)

        return map(judged, self._run(sources, VERDICT_OUTPUTS))

    def measure(self, sources: Iterable[Source]) -> Iterator[Measurement | ImageError]:
        """One measurement per picture, in order, as `inspect` but without thresholds."""
        wanted = [name for name in SCORING_OUTPUTS if name != "top_floor"]
        return (
            item if isinstance(item, ImageError) else Measurement(**self._measured(item))
            for item in self._run(sources, wanted)
        )

    def look(self, sources: Iterable[Source]) -> Iterator[Measurement | ImageError]:
        """Verdicts where the bundle has thresholds, bare measurements where it has none."""
        uncalibrated = any(each.card.calibration is None for each in self.bundles)
        return self.measure(sources) if uncalibrated else self.inspect(sources)

    def measure_all(self, sources: Iterable[Source]) -> Iterator[Measurement]:
        """As `measure`, where every picture must be usable. Raises the first one's ImageError."""
        for item in self.measure(sources):
            if isinstance(item, ImageError):
                raise item
            yield item

    def _judge(self, item: _Output, calibration: Calibration) -> Verdict:
        decision, mask = Decision(int(item.values["decision"])), item.values["mask"]
        if decision == Decision.INVALID:  # the graph marks nothing there
            mask = self._gross_places(item.values["anomaly_map"], calibration)
        return Verdict(
            **self._measured(item),
            threshold=calibration.threshold.value,
            review_threshold=calibration.review.value,
            pixel_threshold=calibration.pixel_threshold,
            decision=decision,
            p_value=round(float(item.values["p_value"]), 7),  # the digits that fp32 holds
            mask=mask,
        )

    def _gross_places(self, anomaly_map: NDArray[np.float32], calibration: Calibration) -> NDArray[np.bool_]:
        """(h, w): what to mark on an invalid picture: as on a defective one, if it resembles the part elsewhere."""
        resembles = resembles_in_places(anomaly_map, calibration.pixel_threshold)
        return self._marked(anomaly_map, Decision.DEFECT if resembles else Decision.INVALID, calibration)

    def _marked(
        self, anomaly_map: NDArray[np.float32], decision: Decision, calibration: Calibration
    ) -> NDArray[np.bool_]:
        tiling = self.image.tiling
        looked_at = anomaly_map.size if tiling is None else tiling.side**2
        top_places = max(1, round(self._bundles[0].card.top_fraction * looked_at))
        return marked_places(anomaly_map, decision, calibration.pixel_threshold, calibration.peak_share, top_places)

    def _measured(self, item: _Output) -> dict[str, Any]:
        return {
            "score": float(item.values["score"]),
            "anomaly_map": item.values["anomaly_map"],
            "distance": float(item.values["distance"]),
            "distance_limit": item.bundle.card.distance_limit,
            "embedding": item.values["embedding"],
            "height_px": item.picture.pixels.shape[0],
            "width_px": item.picture.pixels.shape[1],
            "geometry": self.image.geometry,
            "sha256": item.picture.file.sha256 if item.picture.file else None,
            "picture": item.picture.file,
            "form": item.picture.form,
            "milliseconds": item.milliseconds,
            "product": item.bundle.product,
        }

    def _run(self, sources: Iterable[Source], outputs: Sequence[str]) -> Iterator[_Output | ImageError]:
        """Decode ahead in threads, put neighbours of one size together, run the graph, keep the order."""
        batch: list[_Picture] = []
        for picture in self._decode(sources):
            if isinstance(picture, ImageError):
                yield from self._infer(batch, outputs)
                batch = []
                yield picture
                continue
            if batch and not self._fits(batch, picture):
                yield from self._infer(batch, outputs)
                batch = []
            batch.append(picture)
        yield from self._infer(batch, outputs)

    def _fits(self, batch: list[_Picture], picture: _Picture) -> bool:
        if self.image.tiling is not None:
            return False  # its tiles fill their own batches
        height, width, _ = picture.pixels.shape
        return len(batch) < self._most(height, width) and batch[0].pixels.shape == picture.pixels.shape

    def _most(self, height: int, width: int) -> int:
        """Pictures or tiles of this size in one inference, at most."""
        return min(self._batch, max(1, BATCH_PIXELS // (height * width)))

    def _infer(self, batch: list[_Picture], outputs: Sequence[str]) -> Iterator[_Output | ImageError]:
        if not batch:
            return
        started = time.perf_counter()
        try:
            if self.image.tiling is None:
                values = self._whole(batch, outputs)
            else:
                values = [self._tiled(picture.pixels, self.image.tiling, outputs) for picture in batch]
        except Exception as error:  # ONNX Runtime raises types of its C++ side, mostly for lack of memory
            if len(batch) > 1:
                for picture in batch:
                    yield from self._infer([picture], outputs)
            else:
                yield ImageError(f"{batch[0].name}: ONNX Runtime cannot run it: {error}")
            return
        milliseconds = 1000 * (time.perf_counter() - started) / len(batch)
        for picture, values_of_it in zip(batch, values, strict=True):
            judged_by = self._bundles[int(values_of_it[PRODUCT_INDEX])] if len(self._bundles) > 1 else self._bundles[0]
            yield _Output(picture, values_of_it, milliseconds, judged_by)

    def _whole(self, pictures: list[_Picture], outputs: Sequence[str]) -> list[dict[str, Any]]:
        """Each picture's outputs, of pictures of one size."""
        given = self._input([picture.pixels for picture in pictures], self.image.geometry)
        if self.family is not None:
            outputs = (*outputs, PRODUCT_INDEX)
            given |= {PRODUCT: np.array([picture.number for picture in pictures], np.int64)}
        rows = zip(*self._session.run(list(outputs), given), strict=True)
        return [dict(zip(outputs, row, strict=True)) for row in rows]

    def _tiled(self, pixels: NDArray[np.uint8], tiling: Tiling, outputs: Sequence[str]) -> dict[str, Any]:
        """The same of one large picture; its tiles go through the graph a few at a time."""
        tiles, rectangles = tiling.cut(self.image.geometry.part(pixels)), tiling.rectangles
        most = self._most(*tiles[0].shape[:2])
        seen = []
        for start in range(0, len(tiles), most):
            rows = slice(start, start + most)
            given = self._input(tiles[rows], Geometry()) | {RECTANGLE: rectangles[rows]}
            seen.append(self._session.run(list(TILED), given))
        tile_values = [np.concatenate(batches) for batches in zip(*seen, strict=True)]
        values = tiling.join(dict(zip(TILED, tile_values, strict=True)))
        return values if "decision" not in outputs else values | self._ruled(values)

    def _ruled(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What the graph's verdict nodes say of a picture that is looked at whole; of a tiled one, they cannot."""
        calibration, gated = self.card.require_calibration(), is_gated(values["distance"], self.card.distance_limit)
        decision = decide(values["score"], calibration.threshold.value, calibration.review.value, gated=gated)
        return {
            "decision": decision,
            "p_value": calibration.p_value(math.inf if decision == Decision.INVALID else float(values["score"])),
            "mask": self._marked(values["anomaly_map"], decision, calibration),
        }

    def _input(self, batch: list[NDArray[np.uint8]], geometry: Geometry) -> dict[str, NDArray[Any]]:
        """Pictures or tiles of one size, as the graph takes them; `geometry` says where the square lies on each."""
        if not self._core:
            return {"image": np.stack(batch)}  # (N, H, W, 3)
        return {SQUARE: np.stack([to_square(pixels, geometry, self.image.size_px) for pixels in batch])}

    def _decode(self, sources: Iterable[Source]) -> Iterator[_Picture | ImageError]:
        ahead = DECODERS
        waiting: deque[Future[_Picture | ImageError]] = deque()
        with ThreadPoolExecutor(DECODERS, thread_name_prefix="decode") as pool:
            for source in sources:
                waiting.append(pool.submit(self._read, source))
                while len(waiting) >= ahead:
                    picture = waiting.popleft().result()
                    if isinstance(picture, _Picture):  # its neighbours are mostly of its size
                        height, width, _ = picture.pixels.shape
                        ahead = max(DECODERS, min(2 * self._batch, BATCH_PIXELS // (height * width)))
                    yield picture
            while waiting:
                yield waiting.popleft().result()

    def _number(self, product: str | None, name: str) -> int:
        """What the graph is told of a picture's product. Raises ImageError for one that it does not judge."""
        if self.family is None:
            return ANY_PRODUCT
        if product is not None and product not in {each.product for each in self.bundles}:
            names = ", ".join(str(each.product) for each in self.bundles)
            raise ImageError(f"{name}: shows product {product!r}, and these are judged here: {names}")
        chosen = product if self._only is None else self.bundle.product
        return ANY_PRODUCT if chosen is None else self.family.number(chosen)

    def _read(self, source: Source) -> _Picture | ImageError:
        source, product = source if isinstance(source, tuple) else (source, None)
        try:
            number = self._number(product, str(source) if isinstance(source, Path | str) else "picture")
            if isinstance(source, Path | str):
                full_scale = self.image.full_scale
                pixels, sha256, form = read_image_file(Path(source), full_scale=full_scale)
                picture = _Picture(str(source), pixels, PictureFile(Path(source), full_scale, sha256), form, number)
            else:
                given = _checked_pixels(source)
                picture = _Picture("picture", given, None, PictureForm.of(given), number)
            height, width, _ = picture.pixels.shape
            self.image.check(height, width, picture.name)
            return picture
        except ImageError as error:
            return error


@dataclass(frozen=True, slots=True)
class _Picture:
    name: str
    pixels: NDArray[np.uint8]
    file: PictureFile | None
    form: PictureForm
    number: int
    """Of its product in the graph."""


@dataclass(frozen=True, slots=True)
class _Output:
    picture: _Picture
    values: dict[str, Any]
    milliseconds: float
    bundle: Bundle
    """Whose limits judge it."""


def _checked_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ImageError(f"picture: {pixels.dtype} of shape {pixels.shape}; give uint8 RGB pixels (height, width, 3)")
    return pixels
