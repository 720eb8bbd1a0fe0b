"""Words of the page Inspect: how names tell parts."""

from __future__ import annotations

from defectflow_ui.language import say
from defectflow_ui.words.common import counted

title = "How names tell parts"
expression = "Expression that finds the part's name"
about = (
    "Searched in each picture's name; what stands in brackets is the part: (part\\d+) finds part12 in part12_left.png. "
    "Kept with the model, for all who inspect with it."
)
keep = "Use it from now on"
head = ("picture", "part")
none = "none found"
no_names = "Drop some pictures first: what the expression finds in their names is shown here."
empty = "type an expression that finds the part's name, like (part\\d+); there is none yet"
nothing_tells = "Nothing tells which part a picture shows, so no answer can join the calibration. Say it here:"
ask_an_engineer = (
    "Nothing tells which part a picture shows, so no answer can join the calibration. An engineer can set it here."
)
choose_first = "choose one product above; each has a rule of its own"


def title_of(product: str) -> str:
    return say("How names tell parts: {product}", product=product)


def nothing_tells_of(products: str) -> str:
    return say(
        "Calibrated by part, and without a rule that tells which part a picture shows: {products}. Each of their "
        "pictures counts as a part. Choose the product above to see to it.",
        products=products,
    )


def no_expression(name: str) -> str:
    return say("Without an expression each picture counts as a part. A name to find it in: {name}", name=name)


def counted_parts(found: int, parts: int, missed: int) -> str:
    said = say("{pictures} of {parts}", pictures=counted(found, "picture"), parts=counted(parts, "part"))
    return say("{found}; in {names} it finds nothing", found=said, names=counted(missed, "name")) if missed else said


def kept(model: str) -> str:
    return say(
        "Kept with {model}. What is inspected from now on counts by part; earlier inspections stay as they are.",
        model=model,
    )
