"""A bundle -> its density heads in torch, with vectors of tune parts to examine them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from defectflow.bundle import FLOW, Bundle, check_file
from defectflow.bundle.product_nodes import head_of
from defectflow.density.condition import WHOLE
from defectflow.density.level import LevelDensity
from defectflow.density.place_whitening import unpacked
from defectflow.embedding import Vectors
from defectflow.errors import BundleError
from defectflow.flows import Family, Flow
from defectflow.recipe import parse_recipe

SAMPLE = "tune.safetensors"
SAMPLE_VECTORS = 2048
"""Vectors of tune parts that a bundle keeps for each level."""
FACTOR = re.compile(r"densities\.(\d+)\..*whitening\.factor\.triangle$")
"""In the graph: the level, and the factors of its whitening by place."""


@dataclass(frozen=True, slots=True)
class Head:
    """One level's density, and real vectors that neither whitening nor flow has learned from.

    vectors (n, D): whitened vectors of tune parts; context (n, K): where they lie; parts (n,): numbers of the parts
    that they are from, which bundles of earlier versions do not say.
    """

    level: int
    density: LevelDensity
    vectors: Tensor
    context: Tensor
    family: Family
    parts: Tensor | None

    @property
    def flow(self) -> Flow:
        return self.density.flow


def write_sample(
    folder: Path, levels: Sequence[Vectors], parts: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> None:
    """tune.safetensors: vectors of tune parts, as the backbone gave them, their places and parts, for each level.

    parts: of each tune picture, by name.
    """
    numbers = torch.from_numpy(np.unique(parts, return_inverse=True)[1]).to(torch.int32)
    tensors = dict[str, Tensor]()
    for index, tune in enumerate(levels):
        vectors, places, pictures = tune.draw_with_pictures(SAMPLE_VECTORS, np.random.default_rng(index))
        tensors |= {
            f"vectors.{index}": vectors.half(),
            f"places.{index}": places.to(torch.int32),
            f"parts.{index}": numbers[pictures],
        }
    metadata = {"shapes": json.dumps([list(shape) for shape in shapes])}
    (folder / SAMPLE).write_bytes(safetensors.torch.save(tensors, metadata))  # not save_file: see write_flow


def open_heads(bundle: Bundle) -> list[Head]:
    """Every level's flow with its learned weights. Raises BundleError for a file that is missing or altered."""
    for name in (FLOW, SAMPLE):
        check_file(bundle.path, name, bundle.card)
    recipe = parse_recipe(bundle.card.recipe, source=str(bundle.path))
    learned = _factors(bundle) | safetensors.torch.load_file(bundle.path / FLOW)
    with safetensors.safe_open(bundle.path / SAMPLE, "pt") as file:
        shapes = json.loads(file.metadata()["shapes"])
        sample = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    tiling = bundle.card.image.tiling
    where = WHOLE if tiling is None else torch.from_numpy(tiling.rectangles)
    heads = []
    for index, shape in enumerate(shapes):
        density = LevelDensity(shape, recipe.flow, rectangles=where, with_log_det=recipe.score.kind != "latent_norm")
        try:
            density.load_state_dict(_of_level(learned, index))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise BundleError(
                f"{bundle.path / FLOW}: does not fit its recipe in this version of DefectFlow ({reason}); fit again"
            ) from error
        places = sample[f"places.{index}"].long()
        with torch.no_grad():
            vectors = density.eval().whitened(sample[f"vectors.{index}"].float(), places)
        level, parts = recipe.embedding.levels[index], sample.get(f"parts.{index}")
        heads.append(Head(level, density, vectors, density.contexts[places], recipe.flow.family, parts))
    return heads


def _factors(bundle: Bundle) -> dict[str, Tensor]:
    """Of whitening by place, the packed factors under their names in flow.safetensors, from the graph."""
    factors = dict[str, Tensor]()
    graph = onnx.load_from_string(bundle.read_model()).graph
    if bundle.product is not None and bundle.family is not None:
        graph = head_of(graph, bundle.family.number(bundle.product))
    for value in graph.initializer:
        if found := FACTOR.search(value.name):
            triangle = torch.from_numpy(onnx.numpy_helper.to_array(value).copy())
            factors[f"densities.{found[1]}.whitening.factor"] = triangle[:, :-1]  # the last value is the zero below
    return factors


def _of_level(learned: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    """One density's tensors under its own names; files of version 0.1.0 keep flows and normalisations apart."""
    prefixes = {f"densities.{index}.": "", f"flows.{index}.": "flow.", f"normalisations.{index}.": "normalisation."}
    return {
        own + name.removeprefix(prefix): unpacked(value) if name.endswith("whitening.factor") else value
        for name, value in learned.items()
        for prefix, own in prefixes.items()
        if name.startswith(prefix)
    }
