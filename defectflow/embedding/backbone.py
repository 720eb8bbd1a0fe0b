"""A timm backbone with weights, frozen: one level of feature maps after another, fine to coarse.

Weights come from a package of the package index (`imagenet`), from this one (`builtin`), from the model hub (`hub`), or
from a local file.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import huggingface_hub
import safetensors.torch
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from timm.models import PretrainedCfg
from torch import Tensor, nn

from defectflow.bundle import file_digest
from defectflow.embedding.imagenet import VERSION, imagenet_file, timm_names
from defectflow.errors import SettingsError, WeightsError
from defectflow.recipe import EmbeddingSettings

WAYS_OUT = (
    "either use the recipe `free` (`embedding.weights: builtin`, with `embedding.backbone: resnet18`); or fetch the "
    "weights on a machine that reaches the hub and copy its cache here; or give a safetensors or torch file as "
    "`embedding.weights: path/to/file`"
)
HUB_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Weights:
    """Which weights a backbone was given."""

    name: str
    sha256: str
    """Of the file. What the hub's client keeps is not a single file: of its tensors, see `Backbone.digest`."""
    unused: tuple[str, ...] = ()
    """Names of tensors that the backbone has no place for."""


class Backbone(nn.Module):
    """Pixels 0..255 -> feature maps, frozen and in evaluation mode.

    Shapes: square (N, 3, S, S) -> one (N, H_l, W_l, D_l) per level.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.register_buffer("mean", 255 * torch.tensor(mean)[:, None, None])
        self.register_buffer("std", 255 * torch.tensor(std)[:, None, None])

    def forward(self, square: Tensor) -> list[Tensor]:
        features = self.net(((square - self.mean) / self.std).contiguous(memory_format=torch.channels_last))
        return [level.permute(0, 2, 3, 1) for level in features]  # (N, D, H, W) -> (N, H, W, D)

    def train(self, mode: bool = True) -> Backbone:
        """Stays in evaluation mode: batch statistics would make scores depend on the batch."""
        return super().train(False)

    def digest(self) -> str:
        """SHA-256 over all tensors: equal digests give equal embeddings."""
        hasher = hashlib.sha256()
        for name, tensor in self.state_dict().items():
            hasher.update(name.encode())
            hasher.update(tensor.cpu().contiguous().numpy().tobytes())
        return hasher.hexdigest()


def build_backbone(settings: EmbeddingSettings, size_px: int) -> tuple[Backbone, Weights]:
    """The backbone of a recipe, and the weights that it was given.

    Raises SettingsError for an unknown backbone or level, WeightsError where weights are missing or do not fit.
    """
    name = settings.backbone
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise SettingsError(f"embedding.backbone: timm has no model {name!r}{hint}")
    config = timm.get_pretrained_cfg(name) or PretrainedCfg()
    match settings.weights:
        case "hub":
            backbone = Backbone(_from_hub(settings, size_px), config.mean, config.std)
            return backbone, Weights(config.hf_hub_id or name, backbone.digest())
        case "imagenet":
            path, published = imagenet_file(name)
            stored = timm_names(read_tensors(path), published.blocks)
            # The classifier is left over, and nobody needs to be told.
            net, _ = _from_tensors(stored, path, settings, size_px)
            weights = Weights(f"{published.package} {VERSION}", published.sha256)
        case source:
            path = builtin_weights(name) if source == "builtin" else Path(source)
            net, unused = _from_tensors(read_tensors(path), path, settings, size_px)
            weights = Weights(path.name, file_digest(path), tuple(unused))
    return Backbone(net, config.mean, config.std), weights


def builtin_weights(backbone: str) -> Path:
    """The file in the package that holds the weights of a built-in backbone."""
    folder = Path(str(resources.files("defectflow.embedding") / "weights"))
    path = folder / f"{backbone}.safetensors"
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in folder.glob("*.safetensors")))
        raise WeightsError(f"embedding.weights: builtin is there for {there}, not for {backbone!r}; {WAYS_OUT}")
    return path


def _create(settings: EmbeddingSettings, size_px: int, **options: Any) -> nn.Module:
    """The feature network, cut after the last level in use."""
    options |= _grid_options(settings.backbone, size_px)
    try:
        net: nn.Module = timm.create_model(
            settings.backbone,
            features_only=True,
            out_indices=settings.levels,
            **options,
        )
    except (AssertionError, IndexError, ValueError) as error:
        raise SettingsError(
            f"embedding.levels: {list(settings.levels)} or image.size: {size_px} does not suit "
            f"{settings.backbone!r}: {error}"
        ) from error
    return net


def _from_hub(settings: EmbeddingSettings, size_px: int) -> nn.Module:
    try:
        _ask_hub(settings.backbone)
        return _create(settings, size_px, pretrained=True)
    except SettingsError:
        raise
    except Exception as error:  # the hub's client raises errors of many libraries
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"embedding.weights: hub: no weights for {settings.backbone!r} could be fetched ({reason}); {WAYS_OUT}"
        ) from error


def _ask_hub(backbone: str) -> None:
    """One short question, unless the weights are in the hub's cache: its client asks for a minute and more."""
    config = timm.get_pretrained_cfg(backbone)
    if config is None or not config.hf_hub_id:
        return
    try:
        huggingface_hub.snapshot_download(config.hf_hub_id, local_files_only=True)
    except LocalEntryNotFoundError:
        huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=HUB_TIMEOUT_S)


def _from_tensors(
    stored: dict[str, Tensor], path: Path, settings: EmbeddingSettings, size_px: int
) -> tuple[nn.Module, list[str]]:
    """The feature network with the tensors of a file, and the names of those that it has no place for."""
    whole = timm.create_model(settings.backbone, num_classes=0, **_grid_options(settings.backbone, size_px))
    adapt = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", None)
    if adapt is not None:  # timm's own: resizes a transformer's position embedding, renames old keys
        try:
            stored = adapt(stored, whole)
        except Exception as error:  # it trusts the file to be of its own architecture
            raise WeightsError(
                f"{path}: timm cannot read it as weights of {settings.backbone!r} ({type(error).__name__}: {error}); "
                "is the file of another architecture?"
            ) from error
    wanted = whole.state_dict()
    odd = [name for name in wanted if name in stored and stored[name].shape != wanted[name].shape]
    if odd:
        raise WeightsError(
            f"{path}: {len(odd)} tensors have another shape than {settings.backbone!r} needs, the first {odd[0]}: "
            f"{tuple(stored[odd[0]].shape)} instead of {tuple(wanted[odd[0]].shape)}"
        )
    # What the file lacks becomes NaN: only what the chosen levels really use may then not be NaN.
    filled = {name: _stored_or_nan(stored.get(name), tensor) for name, tensor in wanted.items()}
    with _quiet():
        net = _create(settings, size_px, pretrained=True, pretrained_cfg_overlay={"state_dict": filled})
    missing = [name for name, tensor in net.state_dict().items() if tensor.is_floating_point() and tensor.isnan().any()]
    if missing:
        raise WeightsError(
            f"{path}: lacks {len(missing)} tensors that levels {list(settings.levels)} of {settings.backbone!r} need, "
            f"the first {missing[0]}; is the file of another architecture?"
        )
    return net, sorted(set(stored) - set(wanted))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """timm warns of tensors behind the last level; which are missing or left over is said here, and better."""
    logger = logging.getLogger("timm")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _grid_options(backbone: str, size_px: int) -> dict[str, Any]:
    """Transformers fix their grid when they are made; convolutional nets take any size."""
    config = timm.get_pretrained_cfg(backbone)
    return {"img_size": size_px} if config is not None and config.fixed_input_size else {}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file, or a torch state dict read without unpickling code. Raises WeightsError."""
    if not path.is_file():
        raise WeightsError(f"embedding.weights: no file {path}; {WAYS_OUT}")
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, Any] = safetensors.torch.load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
            tensors = tensors.get("state_dict", tensors)
    except Exception as error:  # damaged files raise errors of every kind
        raise WeightsError(
            f"{path}: not a safetensors file or a plain torch state dict ({type(error).__name__}: {error})"
        ) from error
    bad = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
    if bad:
        raise WeightsError(f"{path}: {bad[0]!r} is not a tensor; save the state dict of the model alone")
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def _stored_or_nan(stored: Tensor | None, wanted: Tensor) -> Tensor:
    if stored is not None:
        return stored
    return torch.full_like(wanted, float("nan")) if wanted.is_floating_point() else wanted
