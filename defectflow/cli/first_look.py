"""For a first look: the built-in sample products, and the built-in recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defectflow.cli.console import Json, out, print_json, progress_bars


def demo_data(
    folder: Annotated[Path, typer.Argument(help="Where the pictures go; one subfolder per product.")],
    product: Annotated[
        list[str] | None, typer.Option(help="ring, fabric or board; repeatable. By default all.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random numbers; another one gives other parts.")] = 0,
) -> None:
    """Draw sample products: good parts with natural variation, and defective ones with masks."""
    from defectflow.common import Progress, Watch
    from defectflow.samples import PRODUCTS, draw_product

    for name in product or PRODUCTS:
        with progress_bars() as watch:

            def draw_watch(done: int, total: int, stage: str = f"draw {name}", watch: Watch = watch) -> None:
                watch(Progress(stage, done, total))

            drawn = draw_product(name, folder / name, seed=seed, progress=draw_watch)
        out.print(f"{name}: {drawn}", markup=False, highlight=False, soft_wrap=True)


def recipes(json: Json = None) -> None:
    """List the built-in recipes and where they are, to copy and change."""
    from defectflow.recipe import builtin_recipes

    found = builtin_recipes()
    purposes = {name: path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for name, path in found.items()}
    rows = [{"name": name, "purpose": purposes[name], "file": str(path)} for name, path in found.items()]
    if print_json(json, rows):
        return
    for name, path in found.items():
        out.print(f"{name:10} {purposes[name]}", markup=False, highlight=False, soft_wrap=True)
        out.print(f"{'':10} {path}", markup=False, highlight=False, soft_wrap=True)
