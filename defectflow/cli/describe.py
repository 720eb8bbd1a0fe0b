"""`defectflow describe`: what a bundle is, promises and was made from. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from defectflow.cli.console import Json, out, print_json

if TYPE_CHECKING:
    from defectflow.bundle import Card


def describe(
    model: Annotated[Path, typer.Argument(help="A bundle, or a model.onnx taken from one.")],
    json: Json = None,
) -> None:
    """Show what a bundle is, what it guarantees and what it was made from. With --json: the whole card."""
    from defectflow.bundle import bundles_of, open_bundle, open_family, read_card

    lone = model.is_file()
    family = None if lone else open_family(model)
    if family is not None:
        cards = {str(each.product): each.card for each in bundles_of(family)}
        if not print_json(json, {name: card.model_dump(mode="json") for name, card in cards.items()}):
            for card in cards.values():
                _show(card)
        return
    card = read_card(model) if lone else open_bundle(model).card
    if print_json(json, card.to_json()):
        return
    _show(card)
    if lone:
        out.print("This is what the file says about itself. Only a whole bundle can be checked for damage.")


def _show(card: Card) -> None:
    table = Table(title=escape(card.name), show_header=False)
    table.add_row("made", card.created)
    table.add_row("bundle", card.bundle_id)
    table.add_row("calibration", card.calibration_id or "none")
    table.add_row(
        "parts", f"{card.parts.train} train, {card.parts.tune} tune, {len(card.calibration_parts)} calibration"
    )
    seen = f"seen at {card.image.size_px} x {card.image.size_px}, {card.image.aspect}"
    if card.image.tiling is not None:
        tile_px = card.recipe["image"]["tiling"]["tile"]
        seen = f"in {len(card.image.tiling)} tiles of {tile_px} px, each seen at {card.image.size_px} px"
    table.add_row("pictures", seen)
    table.add_row("backbone", str(card.recipe["embedding"]["backbone"]))
    if card.weights is not None:
        table.add_row("weights", f"{card.weights.name}, SHA-256 {card.weights.sha256}")
    table.add_row("precision", card.precision)
    table.add_row("flow", f"{card.recipe['flow']['family']}, base {card.recipe['flow'].get('base', 'normal')}")
    table.add_row("score", str(card.recipe["score"].get("kind", "likelihood")))
    if card.calibration is not None:
        table.add_row("threshold", f"{card.calibration.threshold.value:.4f}")
        table.add_row("review threshold", f"{card.calibration.review.value:.4f}")
    out.print(table)
    for sentence in card.guarantee():
        out.print(sentence, markup=False, highlight=False)
    for warning in card.warnings:
        out.print(f"note: {warning}", markup=False, highlight=False, soft_wrap=True)
