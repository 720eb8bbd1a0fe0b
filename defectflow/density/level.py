"""The density of one level: whitening, condition and flow. Embeddings and their places -> nats per dimension."""

from __future__ import annotations

from torch import Tensor, nn

from defectflow.density.condition import CONDITION_WIDTH, WHOLE, place_centres, position_condition
from defectflow.density.place_whitening import PlaceWhitening
from defectflow.density.whitening import Normalisation
from defectflow.flows import build_flow
from defectflow.recipe import FlowSettings

TILED_GRID = 16
"""Rows and columns with their own statistics on a tiled part, whose places would be tens of thousands."""


class LevelDensity(nn.Module):
    """nll = -log p(z | place) / D, with z the whitened embedding: how unusual each place is, in nats per dimension.

    Whitening is linear and measured on training parts, over all places and then, by `flow.place`, at each place. Its
    log-determinant is left out: it is the same for every picture, and tells how tightly good parts lie at a place.
    Shapes: embeddings (N, h, w, D) -> (N, h, w).
    """

    condition: Tensor
    cells: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        settings: FlowSettings,
        *,
        rectangles: Tensor = WHOLE,
        with_log_det: bool = True,
        seed: int = 0,
    ) -> None:
        """shape (h, w, D); rectangles: where on the part the grid lies, (4), or (tiles, 4) for each tile.

        with_log_det: whether the flow's log-determinant counts; without it, nll is that of the latent vector.
        """
        super().__init__()
        height, width, depth = shape
        self.shape = height, width, depth
        self.kind, self.shrinkage = settings.place, settings.shrinkage
        self.with_log_det = with_log_det
        self.normalisation = Normalisation(depth)
        self.whitening = None
        if settings.place != "none":
            grid = (height, width) if rectangles.dim() == 1 else (TILED_GRID, TILED_GRID)
            self.whitening = PlaceWhitening(depth, grid, settings.block)
        measured = self.whitening is not None
        self.flow = build_flow(
            width=depth, context_width=CONDITION_WIDTH, seed=seed, measured=measured, **settings.of_layers()
        )
        self.register_buffer("condition", position_condition(height, width, rectangles), persistent=False)
        self.register_buffer("cells", self._cells(rectangles).flatten(), persistent=False)

    def forward(self, embeddings: Tensor) -> Tensor:
        """For whole parts."""
        z = self.normalisation(embeddings)
        return self.nll_per_dim(z if self.whitening is None else self.whitening(z), self.condition)

    def on_tiles(self, embeddings: Tensor, rectangle: Tensor) -> Tensor:
        """For tiles that lie at rectangle (N, 4) on the part."""
        z = self.normalisation(embeddings)
        if self.whitening is not None:
            z = self.whitening.at(z, self._cells(rectangle))
        return self.nll_per_dim(z, position_condition(*self.shape[:2], rectangle))

    def at(self, embeddings: Tensor, places: Tensor) -> Tensor:
        """For single places, counted over the grid, or over all tiles' grids: (n, D), (n,) -> (n,)."""
        return self.nll_per_dim(self.whitened(embeddings, places), self.contexts[places])

    def whitened(self, embeddings: Tensor, places: Tensor) -> Tensor:
        """(n, D), (n,) -> z (n, D)."""
        z: Tensor = self.normalisation(embeddings)
        return z if self.whitening is None else self.whitening.at(z, self.cells[places])

    def nll_per_dim(self, z: Tensor, condition: Tensor) -> Tensor:
        """Whitened vectors (..., D) under condition (..., K) -> (...)."""
        log_prob = self.flow.log_prob if self.with_log_det else self.flow.latent_log_prob
        return -log_prob(z, condition) / self.flow.width

    @property
    def contexts(self) -> Tensor:
        """The condition of every place, in the order in which they are counted: (places, K)."""
        return self.condition.flatten(0, -2)

    def _cells(self, rectangle: Tensor) -> Tensor:
        """Which place of the whitening's grid each place falls on: rectangle (..., 4) -> (..., h, w)."""
        rows, columns = self.shape[:2] if self.whitening is None else self.whitening.grid
        y, x = place_centres(*self.shape[:2], rectangle)
        row, column = (y * rows).long().clamp(0, rows - 1), (x * columns).long().clamp(0, columns - 1)
        return row[..., :, None] * columns + column[..., None, :]
