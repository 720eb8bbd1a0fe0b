"""The exported graph against the trained model: every picture size, aspect policy and backbone, batch by batch."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx.utils
import onnxruntime
import pytest
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from defectflow.bundle.tensors import FEATURES, SCORING_OUTPUTS, SQUARE
from defectflow.bundle.verdict_nodes import core_of
from defectflow.convert.quantising import inside
from defectflow.density import fit_whitening
from defectflow.embedding.align import Alignment
from defectflow.embedding.backbone import Backbone
from defectflow.embedding.embedding import Embedding
from defectflow.embedding.vectors import Vectors
from defectflow.errors import ExportError
from defectflow.export.onnx_graph import LARGEST_SIDE_PX, _check_resize, compare, export_graph
from defectflow.flows.bijection import Bijection
from defectflow.image.geometry import Geometry
from defectflow.image.resize import to_square
from defectflow.recipe.settings import EmbeddingSettings, load_recipe
from defectflow.score.detector import Detector, OnTiles, build_detector
from defectflow.verdict.calibration import TOLERANCE
from defectflow.verdict.verdict import Measurement

torch.set_num_threads(1)  # on a busy machine, threads wait for each other in spinning loops
SIZES = [(64, 64), (40, 33), (16, 16), (301, 203), (17, 200), (480, 640), (1000, 90)]
TINY = ("embedding.spacing_px=1", "image.size=64", "embedding.levels=[1, 2]", "flow.layers=2", "flow.hidden=16")
WAYS = {
    "stretch": (),
    "letterbox": ("image.aspect=letterbox",),
    "crop": ("image.aspect=crop", "flow.family=glow"),
    "rectangle": ("image.aspect=letterbox", "image.roi.rectangle=[0.1, 0.2, 0.55, 0.7]"),
    "mask": ("image.roi.mask=MASK",),
    "fewer places": ("embedding.spacing_px=8",),
    "whitened by place": ("flow.place=full", "flow.anchored=true", "flow.family=realnvp"),
    "a gaussian by place": ("flow={family: gaussian, place: spread}",),
    "aligned": ("image.align=small", "flow={family: gaussian, place: full}"),
    "aligned from any turn": ("image.align=turned", "flow={family: gaussian, place: full}"),
}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth shapes with some noise, as a camera would see, (H, W, 3)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.sin(0.1 * x + 0.05 * seed) + np.cos(0.07 * y + seed)
    return np.clip(120 + 40 * waves[..., None] + random.normal(0, 10, (height, width, 3)), 0, 255).astype(np.uint8)


@torch.no_grad()
def trained(*overrides: str) -> Detector:
    """A detector that has learned something: its own statistics, and flows that are not the identity."""
    torch.manual_seed(0)
    recipe = load_recipe("free", [*TINY, *overrides])
    detector, _ = build_detector(recipe)
    pictures = torch.from_numpy(np.stack([picture(64, 64, seed) for seed in range(8)]))
    if recipe.image.align != "auto":
        turned = recipe.image.align == "turned"
        alignment = detector.embedding.alignment = Alignment(recipe.image.size, aspect=1.2, any_turn=turned)
        alignment.fit(alignment.copies(detector.embedding.square(pictures)))
    levels = detector.embedding(pictures)
    maps = []
    for density, level in zip(detector.levels, levels, strict=True):
        vectors = Vectors(level.numpy().astype(np.float16), np.arange(level.shape[1] * level.shape[2]))
        fit_whitening(density, vectors, "whiten", np.arange(8) % 2, Path(tempfile.gettempdir()))
        for parameter in density.flow.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
        maps.append(density(level))
    values = [level[:, detector.score.inside_at(*level.shape[1:])] for level in maps]
    detector.score.fit(values, values)
    detector.gate.fit(torch.cat([level.mean((1, 2)) for level in levels], 1))
    return detector


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Detector, onnx.ModelProto]]:
    folder = tmp_path_factory.mktemp("masks")
    mask = np.zeros((64, 64), np.uint8)
    mask[8:56, 16:60] = 255
    Image.fromarray(mask).save(folder / "mask.png")

    @cache
    def make(way: str) -> tuple[Detector, onnx.ModelProto]:
        detector = trained(*(override.replace("MASK", str(folder / "mask.png")) for override in WAYS[way]))
        return detector, export_graph(detector)

    return make


def test_a_tiles_graph_has_a_student_t_base() -> None:
    tiled = ("image.tiling={tile: 64, overlap: 16, picture: [100, 64]}", "flow.base=student_t", "embedding.levels=[1]")
    detector, _ = build_detector(load_recipe("free", [*TINY, *tiled]))
    with torch.no_grad():
        for parameter in detector.levels[0].flow.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    tile, where = picture(64, 64)[None], np.array([[0.0, 0.0, 0.64, 1.0]], np.float32)
    ours = session(export_graph(detector)).run(["score"], {"image": tile, "rectangle": where})[0]
    with torch.no_grad():
        theirs = OnTiles(detector)(torch.from_numpy(tile), torch.from_numpy(where))[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_what_the_exporter_does_not_know_is_reported_in_words() -> None:
    detector = trained("embedding.levels=[1]")
    detector.levels[0].flow.bijections.append(Digamma())
    with pytest.raises(ExportError, match=r"cannot write .* as an ONNX graph \(.*digamma.*\); choose another flow\.fa"):
        export_graph(detector)


class Digamma(Bijection):
    """A layer that no ONNX operation computes."""

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return torch.digamma(x), torch.zeros_like(x[..., 0])


@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()
def test_graph_and_model_agree_on_every_picture_size(way: str, exported) -> None:
    detector, model = exported(way)
    graph = session(model)
    unit = detector(torch.from_numpy(np.stack([picture(64, 64, seed) for seed in range(8)])))[0].std().item()
    worst = dict.fromkeys(SCORING_OUTPUTS, 0.0)
    for height, width in SIZES:
        image = np.stack([picture(height, width, seed) for seed in (20, 21)])
        results = graph.run(list(SCORING_OUTPUTS), {"image": image})
        for name, ours, theirs in zip(SCORING_OUTPUTS, results, detector(torch.from_numpy(image)), strict=True):
            assert ours.shape == tuple(theirs.shape)
            # Relative too: pictures of other sizes are foreign to this model, and give scores of thousands.
            size = theirs.abs()
            if name == "anomaly_map" and detector.embedding.alignment is not None:
                size = F.max_pool2d(size, 3, stride=1, padding=1)  # laid back, a place is a mean of its neighbours
            beyond = np.abs(ours - theirs.numpy()) - 1e-5 * size.numpy()
            worst[name] = max(worst[name], float(beyond.max()))
    print(way, {name: f"{value:.1e}" for name, value in worst.items()}, f"unit {unit:.2f}")
    assert worst["score"] < TOLERANCE * unit
    assert worst["top_floor"] < TOLERANCE * unit
    assert worst["anomaly_map"] < 10 * TOLERANCE * unit
    assert worst["embedding"] < 1e-2 and worst["distance"] < 1e-2


@pytest.mark.parametrize("way", WAYS)
def test_the_core_and_the_runtimes_resize_give_what_the_whole_graph_gives(way: str, exported) -> None:
    detector, model = exported(way)
    whole, core = session(model), session(core_of(model))
    good = np.stack([picture(64, 64, seed) for seed in range(8)])
    unit = whole.run(["score"], {"image": good})[0].std()
    for height, width in SIZES:
        image = np.stack([picture(height, width, seed) for seed in (20, 21)])
        squares = np.stack([to_square(pixels, detector.embedding.geometry, 64) for pixels in image])
        ours, theirs = core.run(None, {SQUARE: squares}), whole.run(None, {"image": image})
        for name, one, other in zip(SCORING_OUTPUTS, ours, theirs, strict=True):
            # Relative too, for pictures of other sizes are foreign here. ONNX Runtime itself is off where it enlarges.
            slack = 1e-4 if min(height, width) < 64 else 1e-5
            limit = {"score": TOLERANCE * unit, "anomaly_map": 10 * TOLERANCE * unit}.get(name, 1e-2)
            np.testing.assert_allclose(one, other, atol=limit, rtol=slack, err_msg=f"{name} of {width} x {height}")


def test_the_region_of_interest_can_be_read_from_the_graph(exported) -> None:
    detector, model = exported("mask")
    for height, width, _ in detector.embedding.shapes:
        wanted = detector.score.inside_at(height, width).numpy()
        assert not wanted.all()
        np.testing.assert_array_equal(inside(model, height, width), wanted)


def test_nothing_is_computed_that_could_have_been_computed_before(exported) -> None:
    """No matrix product of constants, no permutation, and two resizes: of the picture and of the coarser level."""
    _, model = exported("crop")
    constants = {value.name for value in model.graph.initializer}
    kinds = [node.op_type for node in model.graph.node]
    assert not {"Trilu", "GatherND", "Expand", "BatchNormalization"} & set(kinds)
    assert kinds.count("Resize") == 2
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    assert not [node.name for node in products if constants.issuperset(node.input)]


def test_any_number_of_pictures_and_none_touches_another(exported) -> None:
    _, model = exported("stretch")
    graph = session(model)
    image = np.stack([picture(90, 70, seed) for seed in range(5)])
    together = graph.run(list(SCORING_OUTPUTS), {"image": image})
    for number in range(5):
        alone = graph.run(list(SCORING_OUTPUTS), {"image": image[number : number + 1]})
        for one, all_of_them in zip(alone, together, strict=True):
            np.testing.assert_allclose(one[0], all_of_them[number], atol=1e-3, rtol=1e-3)


def test_the_graph_takes_raw_pixels_of_any_size(exported) -> None:
    _, model = exported("stretch")
    (image,) = session(model).get_inputs()
    assert (image.name, image.type) == ("image", "tensor(uint8)")
    batch, height, width, channels = image.shape
    assert channels == 3
    assert all(isinstance(side, str) for side in (batch, height, width))
    assert [output.name for output in session(model).get_outputs()] == list(SCORING_OUTPUTS)
    assert LARGEST_SIDE_PX >= 20_000


def resizes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [
        node
        for node in model.graph.node
        if node.op_type == "Resize" and any(a.name == "antialias" and a.i for a in node.attribute)
    ]


def test_the_resize_leaves_out_what_lies_outside_and_a_graph_without_that_is_refused(exported) -> None:
    _, model = exported("stretch")
    (resize,) = resizes(model)
    assert {a.name: a.i for a in resize.attribute}["exclude_outside"] == 1
    _check_resize(model)

    spoiled = onnx.ModelProto.FromString(model.SerializeToString())
    (resize,) = resizes(spoiled)
    kept = [attribute for attribute in resize.attribute if attribute.name != "exclude_outside"]
    del resize.attribute[:]
    resize.attribute.extend(kept)
    with pytest.raises(ExportError, match=r"Resize without exclude_outside=1.*install a newer torch"):
        _check_resize(spoiled)


class Squares(nn.Module):
    def __init__(self, embedding: Embedding) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, image: Tensor) -> Tensor:
        return self.embedding.square(image)


class Pixels(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [x]


def test_the_graphs_resize_is_torchs_to_a_hundredth_of_a_grey_level() -> None:
    embedding = Embedding(
        Backbone(Pixels(), (0, 0, 0), (1, 1, 1)),
        Geometry("stretch"),
        64,
        EmbeddingSettings(neighbourhood=1, spacing_px=1),
    )
    sizes = {number: torch.export.Dim(name, min=1, max=30_000) for number, name in enumerate("NHW")}
    program = torch.onnx.export(
        Squares(embedding).eval(),
        (torch.zeros(2, 301, 203, 3, dtype=torch.uint8),),
        dynamo=True,
        input_names=["image"],
        dynamic_shapes={"image": sizes},
        verbose=False,
    )
    graph = session(program.model_proto)
    limits = {"shrunk": 2e-4, "shrunk strip": 5e-4, "enlarged": 1e-2}  # ORT rounds long strips' coordinates more
    worst = dict.fromkeys(limits, 0.0)
    for height, width in [*SIZES, (65, 65), (63, 63), (128, 128), (777, 1024), (64, 2000), (31, 500)]:
        image = np.random.default_rng(height).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
        pixels = torch.from_numpy(image).permute(0, 3, 1, 2).double()
        exact = F.interpolate(pixels, size=(64, 64), mode="bilinear", antialias=True).numpy()
        ours = graph.run(None, {"image": image})[0]
        np.testing.assert_allclose(embedding.square(torch.from_numpy(image)), exact, atol=2e-4)
        strip = max(height, width) > 2 * min(height, width)
        kind = "enlarged" if min(height, width) < 64 else "shrunk strip" if strip else "shrunk"
        worst[kind] = max(worst[kind], float(np.abs(ours - exact).max()))
    print("largest difference of 0..255:", {kind: f"{value:.1e}" for kind, value in worst.items()})
    assert all(worst[kind] <= limit for kind, limit in limits.items())
    assert worst["enlarged"] > 0


@torch.no_grad()
def measured(detector: Detector, pixels: np.ndarray, **changes: float) -> Measurement:
    score, anomaly_map, embedding, distance, _ = detector(torch.from_numpy(pixels[None]))
    item = Measurement(
        score=score.item(),
        anomaly_map=anomaly_map[0].numpy(),
        distance=distance.item(),
        distance_limit=10.0,
        embedding=embedding[0].numpy(),
        height_px=pixels.shape[0],
        width_px=pixels.shape[1],
        geometry=detector.embedding.geometry,
        sha256=None,
        milliseconds=1.0,
    )
    return dataclasses.replace(item, **changes)


class TestCompare:
    pictures = [picture(64, 64, seed) for seed in range(4)]  # noqa: RUF012
    spread = 2.0

    @pytest.fixture
    def detector(self, exported) -> Detector:
        return exported("stretch")[0]

    def items(self, detector: Detector, **changes: float) -> list[Measurement]:
        """What the graph gave: only the third picture is off."""
        return [measured(detector, p, **(changes if n == 2 else {})) for n, p in enumerate(self.pictures)]

    def score_of(self, detector: Detector) -> float:
        return measured(detector, self.pictures[2]).score

    def test_agreement_is_measured(self, detector: Detector) -> None:
        parity = compare(detector, self.pictures, self.items(detector), self.spread)
        assert parity.pictures == 4
        assert max(parity.score, parity.anomaly_map, parity.distance) < 1e-5

    def test_a_small_difference_passes_and_is_reported_in_the_good_scores_unit(self, detector: Detector) -> None:
        off = self.score_of(detector) + 0.5 * TOLERANCE * self.spread
        parity = compare(detector, self.pictures, self.items(detector, score=off), self.spread)
        assert parity.score == pytest.approx(0.5 * TOLERANCE, rel=0.05)

    @pytest.mark.parametrize("sign", [1, -1])
    def test_another_score_is_refused(self, detector: Detector, sign: int) -> None:
        off = self.score_of(detector) + sign * 3 * TOLERANCE * self.spread
        with pytest.raises(
            ExportError, match=r"differs .* by 0\.003 standard deviations .* on 4 tune pictures; the limit"
        ):
            compare(detector, self.pictures, self.items(detector, score=off), self.spread)

    def test_another_gate_distance_is_refused(self, detector: Detector) -> None:
        off = measured(detector, self.pictures[2]).distance + 0.05
        with pytest.raises(ExportError, match=r"gate: 0\.005 of its limit"):
            compare(detector, self.pictures, self.items(detector, distance=off), self.spread)

    @pytest.mark.parametrize("output", ["score", "distance"])
    def test_a_graph_that_gives_nan_is_refused(self, detector: Detector, output: str) -> None:
        with pytest.raises(ExportError, match="nan"):
            compare(detector, self.pictures, self.items(detector, **{output: float("nan")}), self.spread)

    @pytest.mark.parametrize("spread", [0.0, float("nan")])
    def test_scores_that_do_not_differ_give_no_unit(self, detector: Detector, spread: float) -> None:
        with pytest.raises(
            ExportError, match=rf"4 tune pictures have a standard deviation of {spread:g}.*add good pictures"
        ):
            compare(detector, self.pictures, self.items(detector), spread)


@torch.no_grad()
def test_the_default_embedding_is_exported_with_plain_paddings() -> None:
    """TensorFlow's "same" padding depends on the size, which is known here: nothing is computed from shapes."""
    lite = ("embedding.backbone=tf_efficientnet_lite0", "embedding.weights=imagenet")
    detector = trained("image.size=256", "embedding.levels=[1, 2, 3]", *lite)
    model = export_graph(detector)
    features = [item.name for item in model.graph.value_info if item.name.startswith(FEATURES)]
    backbone = onnx.utils.Extractor(model).extract_model([SQUARE], features).graph.node
    assert {node.op_type for node in backbone} == {"Sub", "Conv", "Clip", "Add"}, "one Sub: the pixels' mean"
    settings = [{item.name: list(item.ints) for item in node.attribute} for node in backbone if node.op_type == "Conv"]
    thinning = [(item["kernel_shape"], item["pads"]) for item in settings if item["strides"] == [2, 2]]
    three, five = ([3, 3], [0, 0, 1, 1]), ([5, 5], [1, 1, 2, 2])
    assert thinning == [three, three, five, three]
    picked = [picture(256, 256, seed) for seed in range(4)] + [picture(301, 203, 9)]
    unit = np.std([detector(torch.from_numpy(pixels[None]))[0].item() for pixels in picked[:4]])
    graph = session(model)
    for pixels in picked:
        ours = graph.run(list(SCORING_OUTPUTS), {"image": pixels[None]})
        theirs = detector(torch.from_numpy(pixels[None]))
        np.testing.assert_allclose(ours[0], theirs[0], atol=TOLERANCE * unit, rtol=1e-5)
        np.testing.assert_allclose(ours[1], theirs[1], atol=10 * TOLERANCE * unit, rtol=1e-5)


@torch.no_grad()
def test_a_transformer_exports_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=0).state_dict()
    safetensors.torch.save_file(weights, tmp_path / "vit.safetensors")
    detector = trained(
        "embedding.backbone=vit_tiny_patch16_224",
        "embedding.levels=[1, 3]",
        f"embedding.weights={tmp_path / 'vit.safetensors'}",
    )
    graph = session(export_graph(detector))
    unit = detector(torch.from_numpy(np.stack([picture(64, 64, seed) for seed in range(8)])))[0].std().item()
    for count, height, width in ((1, 64, 64), (3, 120, 77), (2, 33, 40)):
        image = np.stack([picture(height, width, seed) for seed in range(count)])
        ours = graph.run(list(SCORING_OUTPUTS), {"image": image})
        theirs = detector(torch.from_numpy(image))
        # Relative too: untrained on such pictures, the flow gives scores of hundreds.
        np.testing.assert_allclose(
            ours[0], theirs[0].numpy(), atol=TOLERANCE * unit, rtol=1e-5
        )  # strange pictures: hundreds of units
        np.testing.assert_allclose(ours[1], theirs[1].numpy(), atol=10 * TOLERANCE * unit, rtol=1e-5)
