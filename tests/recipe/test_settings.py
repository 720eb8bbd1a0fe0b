"""Recipes: what a user may write, and what they are told where they may not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from defectflow.errors import SettingsError
from defectflow.flows.build import Family, build_flow
from defectflow.recipe.flow_settings import (
    PLACE,
    FlowSettings,
    GaussianSettings,
    GlowSettings,
    PlanarSettings,
    RealNVPSettings,
)
from defectflow.recipe.settings import Recipe, builtin_recipes, load_recipe, parse_recipe

BUILTIN = sorted(builtin_recipes())


def written(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def leaves(tree: dict, prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in tree.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def test_there_is_a_recipe_for_each_purpose() -> None:
    assert BUILTIN == ["accurate", "default", "fast", "free", "large", "object", "texture"]


@pytest.mark.parametrize("name", BUILTIN)
class TestBuiltin:
    def test_loads_and_says_what_its_file_says(self, name: str) -> None:
        recipe = leaves(load_recipe(name).model_dump(mode="json"))
        text = builtin_recipes()[name].read_text(encoding="utf-8")
        # What is commented out is the family's default, shown to be found: who edits the family edits one line.
        shown = re.sub(r"(?m)^  # (?=layers|clamp|anchored)", "  ", text)
        assert recipe == leaves(yaml.safe_load(shown))  # every setting there is, and no other

    @pytest.mark.parametrize("family", get_args(Family))
    def test_one_override_chooses_any_family_with_its_own_defaults(self, name: str, family: str) -> None:
        before, after = load_recipe(name), load_recipe(name, [f"flow.family={family}"])
        if family == before.flow.family:
            assert after == before
            return
        kept = before.flow.model_dump(include={"hidden", *PLACE})
        assert after.flow == type(after.flow)(**kept)
        assert after.model_copy(update={"flow": before.flow}) == before

    def test_its_copy_takes_another_family_by_editing_one_line(self, name: str, tmp_path: Path) -> None:
        text = builtin_recipes()[name].read_text(encoding="utf-8")
        layers = yaml.safe_load(text)["flow"].get("layers")
        for family in get_args(Family):
            path = written(tmp_path, re.sub(r"(?m)^  family: \w+", f"  family: {family}", text))
            if layers is not None and family in ("cnf", "gaussian"):
                with pytest.raises(
                    SettingsError, match=rf"flow\.layers: family: {family} has .*glow, .*; leave it out"
                ):
                    load_recipe(path)
            else:
                flow = load_recipe(path).flow
                assert flow.family == family and (layers is None or flow.layers == layers)

    def test_explains_every_setting_on_its_line(self, name: str) -> None:
        for line in builtin_recipes()[name].read_text(encoding="utf-8").splitlines():
            if re.match(r"\s+\w+: *[^ #]", line):
                assert re.search(r"  # \S.{8,}$", line), f"no comment: {line!r}"

    def test_says_first_what_it_is_for(self, name: str) -> None:
        assert builtin_recipes()[name].read_text(encoding="utf-8").startswith("# For ")

    def test_comes_back_from_json(self, name: str) -> None:
        mask = [] if name == "large" else ["image.roi.mask=masks/ring.png"]  # tiles have none
        recipe = load_recipe(name, ["image.roi.rectangle=[0.1, 0, 0.5, 1]", *mask])
        stored = json.loads(json.dumps(recipe.model_dump(mode="json")))
        assert parse_recipe(stored) == recipe


def test_families_and_their_settings_agree() -> None:
    """In names, and every setting is one that the family's builder knows."""
    groups = {
        get_args(group.model_fields["family"].annotation)[0]: group for group in get_args(get_args(FlowSettings)[0])
    }
    assert sorted(groups) == sorted(get_args(Family))
    for name, group in groups.items():
        assert build_flow(width=4, context_width=2, **group(hidden=8).of_layers()).width == 4, name


def test_the_file_is_found_by_path_or_name(tmp_path: Path) -> None:
    path = written(tmp_path, "image:\n  size: 320\n")
    assert load_recipe(path).image.size == 320
    assert load_recipe().image.size == load_recipe("default").image.size


def test_what_a_recipe_leaves_out_has_its_default(tmp_path: Path) -> None:
    assert load_recipe(written(tmp_path, "")) == Recipe()
    assert load_recipe(written(tmp_path, "image:\n  # size: 512\nflow:\n")) == Recipe()


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("flow.hidden=12", lambda r: r.flow.hidden == 12),
        ("flow.family=glow", lambda r: isinstance(r.flow, GlowSettings)),
        ("embedding.levels=[0, 2]", lambda r: r.embedding.levels == (0, 2)),
        ("image.full_scale=4095", lambda r: r.image.full_scale == 4095),
        ("image.full_scale=null", lambda r: r.image.full_scale is None),
        ("image.roi.rectangle=[0.25, 0, 0.5, 1]", lambda r: r.image.roi.rectangle == (0.25, 0, 0.5, 1)),
        ("image.roi.mask=a=b.png", lambda r: r.image.roi.mask == Path("a=b.png")),
        ("training.learning_rate=1e-4", lambda r: r.training.learning_rate == 1e-4),
        ("training.deterministic=true", lambda r: r.training.deterministic is True),
        ("score={top_fraction: 0.5}", lambda r: r.score.top_fraction == 0.5),
    ],
)
@pytest.mark.parametrize("start", ["default", "empty file"])
def test_override(override: str, read, start: str, tmp_path: Path) -> None:
    assert read(load_recipe(written(tmp_path, "") if start == "empty file" else start, [override]))


def test_a_flow_without_a_family_is_the_default_recipes(tmp_path: Path) -> None:
    path = written(tmp_path, "image: {size: 128}\n")
    assert load_recipe(path, ["flow.block=2"]).flow == GaussianSettings(block=2)
    assert load_recipe(written(tmp_path, "flow: {hidden: 64}")).flow == GaussianSettings(hidden=64)
    assert load_recipe(written(tmp_path, "flow: {hidden: 64}"), ["flow.family=realnvp"]).flow == RealNVPSettings(
        hidden=64
    )


def test_what_is_typed_for_a_chosen_family_counts_whatever_its_order() -> None:
    for typed in (["flow.family=planar", "flow.layers=20"], ["flow.layers=20", "flow.family=planar"]):
        assert load_recipe("accurate", typed).flow == PlanarSettings(layers=20, hidden=256)
    assert load_recipe("accurate", ["flow={family: planar}"]).flow == PlanarSettings()
    assert load_recipe("fast", ["flow.family=glow", "flow.family=gaussian"]).flow == GaussianSettings(
        hidden=64, block=2
    )
    assert load_recipe("accurate", ["flow.family=glow"]).flow == GlowSettings(hidden=256)


def test_what_is_typed_and_the_family_lacks_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"flow\.clamp: family: nice has no such setting \(.*glow.* have\); leave"):
        load_recipe("default", ["flow.family=nice", "flow.clamp=1"])
    with pytest.raises(SettingsError, match=r"flow\.clam: no such setting; did you mean 'clamp'\?"):
        load_recipe("default", ["flow.family=maf", "flow.clam=1"])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("base: student_t", r"flow: objective: matching learns paths to a normal, not to base: student_t; use base: n"),
        (
            "kinetic: 0.5, trace: gaussian",
            r"flow: objective: matching does not use trace: gaussian, kinetic: 0\.5; l",
        ),
        ("tolerance: 0.01", r"does not use tolerance: 0\.01"),
    ],
)
def test_matching_refuses_what_it_would_ignore(typed: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_recipe("default", [f"flow={{family: cnf, objective: matching, {typed}}}"])
    assert load_recipe("default", [f"flow={{family: cnf, {typed}}}"]).flow.objective == "likelihood"
    matching = load_recipe("default", ["flow={family: cnf, objective: matching}"])
    assert parse_recipe(matching.model_dump(mode="json")) == matching  # as saved, with all it does not use


def test_what_means_the_same_in_each_family_stays(tmp_path: Path) -> None:
    path = written(tmp_path, "flow: {family: spline, layers: 9, bins: 5, clamp: 1.5, base: student_t}")
    assert load_recipe(path, ["flow.family=glow"]).flow == GlowSettings(clamp=1.5, base="student_t")


def test_the_last_of_several_overrides_wins() -> None:
    recipe = load_recipe("default", ["image.size=64", "flow.block=3", "image.size=96"])
    assert (recipe.image.size, recipe.flow.block) == (96, 3)


def test_an_override_opens_a_group_that_was_left_empty(tmp_path: Path) -> None:
    assert load_recipe(written(tmp_path, "image:\n"), ["image.roi.rectangle=[0, 0, 1, 1]"]).image.roi.rectangle


@pytest.mark.parametrize(
    ("override", "said"),
    [
        # misspelt keys: path, nearest spelling, what is allowed
        ("imge.size=64", ["imge: no such setting", "did you mean 'image'?", "embedding, flow, training"]),
        (
            "image.sise=64",
            ["image.sise: no such setting", "did you mean 'size'?", "size, aspect, align, roi, tiling, full_scale"],
        ),
        (
            "flow.hiden=3",
            ["flow.hiden: no such setting", "did you mean 'hidden'?", "shrinkage, block, base, hidden, clamp, family"],
        ),
        ("flow.realnvp=3", ["flow.realnvp: no such setting", "base, hidden, clamp, family"]),
        (
            "image.roi.rectangel=null",
            ["image.roi.rectangel: no such", "did you mean 'rectangle'?", "rectangle, mask, outlines"],
        ),
        ("nothing.like.it=1", ["nothing: no such setting", "Allowed are image, embedding"]),
        # bad values: path, value, limit
        ("image.size=100", ["image.size: 100", "use 96 or 128"]),
        ("image.size=16", ["image.size: 16", "greater than or equal to 32"]),
        ("image.size=4096", ["image.size: 4096", "less than or equal to 2048"]),
        ("image.size=large", ["image.size: 'large' is not a whole number"]),
        ("embedding.levels=[2, 1]", ["embedding.levels: [2, 1]", "ascending"]),
        ("embedding.levels=[-1]", ["embedding.levels: [-1]", "from 0 on"]),
        ("embedding.levels=[]", ["embedding.levels: []", "at least 1 item"]),
        ("embedding.neighbourhood=4", ["embedding.neighbourhood: 4", "use 3 or 5"]),
        ("image.roi.rectangle=[0.5, 0, 0.6, 1]", ["image.roi", "is partly outside the picture", "left + width"]),
        ("image.roi.rectangle=[0.5, 0, 0, 1]", ["image.roi", "or empty"]),
        ("image.roi.ignored=[{points: [[0, 0]], width: 0.1}]", ["image.roi", "picture: is missing", "[width, height]"]),
        ("image.roi.outlines=[{points: [[0, 0], [1, 1]]}]", ["image.roi.outlines", "2 points", "at least 3"]),
        ("image.roi.outlines=[{points: [[0, 2]], width: 1}]", ["image.roi.outlines", "less than or equal to 1"]),
        ("verdict.rate=0.2", ["verdict", "review_rate 0.1 must not be below rate 0.2"]),
        ("verdict.rate=1.5", ["verdict.rate: 1.5", "less than 1"]),
        ("training.learning_rate=.nan", ["training.learning_rate: nan"]),
        ("flow.hidden=", ["flow.hidden: None is not a whole number"]),
        ("flow.hidden.x=3", ["'hidden' is a value, not a group"]),
        ("image=3", ["'image': 3 is a value, not a group of settings; write image: {...}"]),
        ("image.roi=[1]", ["'image.roi': [1] is a value, not a group of settings"]),
        ("flow=3", ["'flow': 3 is a value, not a group of settings"]),
        # bad choices: path, value, choices, nearest
        ("image.aspect=strech", ["image.aspect: 'strech' is not one of stretch, letterbox, crop", "'stretch'?"]),
        ("embedding.normalise=none", ["embedding.normalise: 'none' is not one of whiten, standardise"]),
        ("flow.family=relnvp", ["flow.family: 'relnvp' is not one of cnf, gaussian, glow", "did you mean 'realnvp'?"]),
        ("flow.family=null", ["flow.family: None is not one of cnf, gaussian, glow"]),
        # of another kind
        ("image.size=32.5", ["image.size: 32.5 is not a whole number"]),
        ("verdict.rate=low", ["verdict.rate: 'low' is not a number"]),
        ("embedding.adapt=perhaps", ["embedding.adapt: 'perhaps' is not true or false"]),
        ("embedding.levels=3", ["embedding.levels: 3 is not a list, such as [1, 2]"]),
        # not an override at all
        ("flow.layers", ["'flow.layers' is not KEY=VALUE", "--set flow.layers=12"]),
        ("=12", ["'=12' is not KEY=VALUE"]),
        ("image.size.deep=3", ["'size' is a value, not a group"]),
        ("embedding.levels=[1,", ["'embedding.levels=[1,'", "not valid YAML"]),
        ("image.aspect=@x", ["'image.aspect=@x'", "not valid YAML"]),
    ],
)
def test_a_wrong_override_is_explained(override: str, said: list[str]) -> None:
    with pytest.raises(SettingsError) as error:
        load_recipe("default", [override])
    for part in said:
        assert part in str(error.value)


def test_all_problems_are_reported_at_once_with_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "image: {size: 100, aspekt: crop}\nflow: {family: glow, layers: 0}\n")
    with pytest.raises(SettingsError) as error:
        load_recipe(path)
    lines = str(error.value).splitlines()
    assert lines[0] == f"{path}: 3 settings cannot be used"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["image.size", "image.aspekt", "flow.layers"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b\n", "a recipe is a tree of settings, not list"),
        ("just words", "a recipe is a tree of settings, not str"),
        ("image: [1, 2", "not valid YAML"),
        ("flow: 3", "'flow': 3 is a value"),
        ("1: 2", "1: "),
        ("!!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_recipe(text: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError, match=re.escape(said)) as error:
        load_recipe(path)
    assert str(error.value).startswith(path)


def test_a_picture_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "part.png").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(SettingsError, match="not valid YAML"):
        load_recipe(str(tmp_path / "part.png"))


def test_an_unknown_recipe() -> None:
    with pytest.raises(SettingsError, match=r"'defualt' is neither a file nor built in .*texture.*'default'\?"):
        load_recipe("defualt")


def test_a_recipe_is_frozen() -> None:
    recipe = load_recipe()
    for group, key in (("image", "size"), ("flow", "layers"), ("verdict", "rate")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(getattr(recipe, group), key, 1)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.image = load_recipe("object").image


@given(
    st.dictionaries(
        st.sampled_from([*Recipe.model_fields, "other"]),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5) | st.floats(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["size", "roi", "rectangle", "family", "layers", "realnvp", "glow", "levels", "x"]),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=6,
        ),
    )
)
def test_no_tree_of_values_ends_in_a_stack_trace(tree: dict) -> None:
    try:
        recipe = parse_recipe(tree)
    except SettingsError:
        return
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe


def test_the_default_recipe_is_what_the_settings_say_where_a_recipe_is_silent() -> None:
    assert load_recipe("default") == Recipe()


def test_a_family_given_as_the_flow_is_explained() -> None:
    with pytest.raises(SettingsError, match=r"\n  flow is a group .* choose its family with flow\.family: realnvp"):
        load_recipe("default", ["flow=realnvp"])
