"""Region of interest -> which places of the map are scored."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from defectflow.embedding import geometry_of
from defectflow.image import drawn_areas, read_image
from defectflow.recipe import ImageSettings


def places_inside(image: ImageSettings, height: int, width: int) -> Tensor:
    """(height, width), True where scored: places at least half of which the mask and the drawn areas leave."""
    geometry, inside = geometry_of(image), np.ones((height, width), np.bool_)
    if image.roi.mask is not None:
        mask = (read_image(image.roi.mask)[..., 0] > 127).astype(np.float32)
        inside &= geometry.to_square(mask, height, width) >= 0.5
    if image.roi.is_drawn and image.roi.picture is not None:
        drawn = drawn_areas(image.roi.outlines, image.roi.ignored, image.roi.picture)
        inside &= geometry.to_square(geometry.part(drawn).astype(np.float32), height, width) >= 0.5
    return torch.from_numpy(inside)
