"""The runtime's resize against torch's and the graph's own, over sizes, aspects and regions of interest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectflow.embedding.backbone import Backbone
from defectflow.embedding.embedding import Embedding
from defectflow.image.geometry import Geometry
from defectflow.image.resize import to_square
from defectflow.recipe.settings import EmbeddingSettings

SIZES = [(64, 64), (40, 33), (16, 16), (301, 203), (17, 200), (480, 640), (1000, 90), (65, 65), (31, 500), (777, 1024)]
GEOMETRIES = {
    "stretch": Geometry("stretch"),
    "letterbox": Geometry("letterbox"),
    "crop": Geometry("crop"),
    "rectangle": Geometry("letterbox", (1000, 2000, 5500, 7000)),
    "strip": Geometry("crop", (3333, 0, 3333, 10_000)),
}


class Pixels(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [x]


class Squares(nn.Module):
    def __init__(self, embedding: Embedding) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, image: Tensor) -> Tensor:
        return self.embedding.square(image)


def embedding(geometry: Geometry) -> Embedding:
    plain = EmbeddingSettings(neighbourhood=1, spacing_px=1)
    return Embedding(Backbone(Pixels(), (0, 0, 0), (1, 1, 1)), geometry, 64, plain)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_square_is_that_of_the_trained_model(name: str) -> None:
    geometry = GEOMETRIES[name]
    for height, width in SIZES:
        cut = geometry.cut(height, width)
        if min(cut.bottom - cut.top, cut.right - cut.left) < 16:
            continue
        pixels = noise(height, width)
        theirs = embedding(geometry).square(torch.from_numpy(pixels[None]))[0].numpy()
        np.testing.assert_allclose(to_square(pixels, geometry, 64), theirs, atol=5e-4, err_msg=f"{width} x {height}")


def test_the_square_is_that_of_the_exported_graph(export: Callable[[nn.Module], onnxruntime.InferenceSession]) -> None:
    """Where a picture is enlarged, ONNX Runtime itself is off by up to a hundredth of a grey level."""
    graph = export(Squares(embedding(Geometry("letterbox"))))
    for height, width in SIZES:
        pixels = noise(height, width)
        theirs = graph.run(None, {"image": pixels[None]})[0][0]
        np.testing.assert_allclose(to_square(pixels, Geometry("letterbox"), 64), theirs, atol=1e-2)


def test_any_size_of_square() -> None:
    pixels = noise(300, 200)
    for size in (32, 96, 256):
        exact = F.interpolate(
            torch.from_numpy(pixels).permute(2, 0, 1)[None].double(), size=(size, size), mode="bilinear", antialias=True
        )
        np.testing.assert_allclose(to_square(pixels, Geometry(), size), exact[0].numpy(), atol=2e-4)


def test_a_picture_of_the_squares_size_is_left_alone() -> None:
    pixels = noise(64, 64)
    np.testing.assert_allclose(to_square(pixels, Geometry(), 64), pixels.transpose(2, 0, 1), atol=1e-4)


@pytest.fixture
def export() -> Callable[[nn.Module], onnxruntime.InferenceSession]:
    def exported(module: nn.Module) -> onnxruntime.InferenceSession:
        sizes = {number: torch.export.Dim(name, min=1, max=30_000) for number, name in enumerate("NHW")}
        program = torch.onnx.export(
            module.eval(),
            (torch.zeros(2, 301, 203, 3, dtype=torch.uint8),),
            dynamo=True,
            input_names=["image"],
            dynamic_shapes={"image": sizes},
            verbose=False,
        )
        return onnxruntime.InferenceSession(program.model_proto.SerializeToString())

    return exported
