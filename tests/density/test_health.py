"""Doctor and draw: a sound model passes, and each way to be unsound is found."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from scipy import stats
from support import Cli

from defectflow.bundle import FLOW, file_digest, open_bundle, save_bundle
from defectflow.density.draw import draw_embeddings, write_embeddings
from defectflow.density.health import Check, examine
from defectflow.density.saved import SAMPLE, SAMPLE_VECTORS, Head, open_heads
from defectflow.errors import BundleError, SettingsError
from defectflow.flows.build import Family, build_flow
from defectflow.recipe.settings import parse_recipe


def head(family: str = "glow", *, count: int = 2000, **settings: Any) -> Head:
    """A density that is exactly right for its vectors: they were drawn from it, 10 of each part."""
    torch.manual_seed(0)
    layers = {} if family in ("cnf", "gaussian") else {"layers": 3}
    flow = build_flow(family, 6, 4, **layers | {"hidden": 16} | settings)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    context = torch.randn(count, 4)
    vectors = flow.sample(context, torch.Generator().manual_seed(1))
    parts = torch.arange(count) // 10
    return Head(1, SimpleNamespace(flow=flow.eval()), vectors, context, family, parts)  # type: ignore[arg-type]


def found(checks: list[Check], words: str, layer: str = "") -> Check:
    (check,) = [check for check in checks if words in check.question and check.layer == layer]
    return check


class TestHeads:
    def test_a_bundle_gives_its_density_back(self, bundle_path: Path) -> None:
        bundle = open_bundle(bundle_path)
        heads = open_heads(bundle)
        assert [head.level for head in heads] == [1, 2]
        for name, head in zip(("level 1", "level 2"), heads, strict=True):
            assert head.vectors.shape == (SAMPLE_VECTORS, head.flow.width)
            assert head.parts is not None and len(head.parts.unique()) == bundle.card.parts.tune
            with torch.no_grad():
                nats = -head.flow.log_prob(head.vectors, head.context).mean().item() / head.flow.width
            # The same density on a sample of the same parts: training measured it on 32,768 vectors.
            assert nats == pytest.approx(bundle.card.training[name]["tune_nats_per_dim"], abs=0.02)

    def test_a_bundle_that_does_not_know_its_vectors_parts_is_read(self, bundle_copy: Path, cli: Cli) -> None:
        """As earlier versions wrote it."""
        with safetensors.safe_open(bundle_copy / SAMPLE, "pt") as file:
            metadata = file.metadata()
            kept = {name: file.get_tensor(name) for name in file.keys() if not name.startswith("parts.")}  # noqa: SIM118
        safetensors.torch.save_file(kept, bundle_copy / SAMPLE, metadata)
        card = open_bundle(bundle_copy).card
        digests = card.checksums | {SAMPLE: file_digest(bundle_copy / SAMPLE)}
        save_bundle(bundle_copy, card.model_copy(update={"checksums": digests}))
        drawn = cli("draw", bundle_copy, "--count", "200")
        assert drawn.code == 0, drawn.err
        assert "no separation: the bundle does not say which part" in drawn.out
        plain = json.loads(cli("draw", bundle_copy, "--count", "200", "--json").out)
        assert [level["separation"] for level in plain["levels"]] == [None, None]

    def test_a_bundle_of_version_0_1_0_is_read(self, bundle_copy: Path) -> None:
        """It named flows and normalisations apart."""
        bundle = open_bundle(bundle_copy)
        before = open_heads(bundle)
        weights = safetensors.torch.load_file(bundle_copy / FLOW)
        old = {
            re.sub(r"^densities\.(\d)\.(flow|normalisation)", r"\2s.\1", name): value for name, value in weights.items()
        }
        assert any(name.startswith("flows.1.bijections") for name in old)
        safetensors.torch.save_file(old, bundle_copy / FLOW)
        digests = bundle.card.checksums | {FLOW: file_digest(bundle_copy / FLOW)}
        save_bundle(bundle_copy, bundle.card.model_copy(update={"checksums": digests}))
        for one, other in zip(before, open_heads(open_bundle(bundle_copy)), strict=True):
            assert torch.equal(one.vectors, other.vectors)
            log_probs = [head.flow.log_prob(head.vectors, head.context) for head in (one, other)]
            assert torch.equal(*log_probs)

    def test_an_altered_file_is_refused(self, bundle_copy: Path) -> None:
        (bundle_copy / "tune.safetensors").write_bytes(b"other vectors")
        with pytest.raises(BundleError, match=r"tune\.safetensors: is damaged or was altered"):
            open_heads(open_bundle(bundle_copy))


class TestExamine:
    @pytest.mark.parametrize("family", get_args(Family))
    def test_a_density_of_its_own_samples_is_sound(self, family: str) -> None:
        checks = examine([head(family)])
        assert {check.finding for check in checks} == {"ok"}, [c for c in checks if c.finding != "ok"]

    def test_added_dimensions_follow_their_law_over_many_draws(self) -> None:
        """Paths that leave e alone, so that x and e are independent, as they are not in just any such density."""
        augmented = head("cnf", augmented=3)
        velocity = augmented.flow.bijections[-1].velocity
        with torch.no_grad():
            velocity.first.weight[:, 6:] = 0
            velocity.last.weight[6:] = 0
            velocity.last.bias[6:] = 0
            context_affine = augmented.flow.bijections[0].net[-1]
            for rows in (slice(6, 9), slice(15, 18)):  # scales and shifts of e
                context_affine.weight[rows] = 0
                context_affine.bias[rows] = 0
        vectors = augmented.flow.sample(augmented.context, torch.Generator().manual_seed(1))
        checks = examine([dataclasses.replace(augmented, vectors=vectors)])
        assert {check.finding for check in checks} == {"ok"}, [c for c in checks if c.finding != "ok"]

    @pytest.mark.parametrize("family", get_args(Family))
    def test_remedies_name_settings_that_the_family_has(self, family: str) -> None:
        named = {
            name for check in examine([head(family, count=200)]) for name in re.findall(r"flow\.(\w+)", check.remedy)
        }
        assert named and named - {"family"} <= set(type(parse_recipe({"flow": {"family": family}}).flow).model_fields)

    @pytest.mark.parametrize(
        ("family", "layer", "by_hand"),
        [
            ("glow", "2 ActNorm", lambda layer: layer.log_scale.copy_(torch.full((6,), -12.0))),
            ("glow", "3 Mixing", lambda layer: layer.log_scale[:1].fill_(-12.0)),
            ("nice", "8 DiagonalScale", lambda layer: layer.log_scale[:1].fill_(12.0)),
            ("realnvp", "3 AffineCoupling", lambda layer: layer.net.last.bias[:1].fill_(500.0)),
            ("spline", "3 SplineCoupling", lambda layer: layer.net.last.weight.mul_(2000.0)),
        ],
    )
    def test_a_layer_that_stretches_too_far_is_unfit(self, family: str, layer: str, by_hand: Callable) -> None:
        broken = head(family, **{} if family == "nice" else {"clamp": 11.0})
        assert found(examine([broken]), "largest |log-scale|", layer).finding == "ok"
        with torch.no_grad():
            by_hand(broken.flow.bijections[int(layer[0]) - 1])
        check = found(examine([broken]), "largest |log-scale|", layer)
        assert check.finding == "unfit" and check.value > 10

    def test_a_lost_way_back_is_unfit_and_says_why(self) -> None:
        """Runge-Kutta steps that are far too coarse for their paths."""
        broken = head("cnf", steps=2)
        with torch.no_grad():
            broken.flow.bijections[-1].velocity.last.weight.mul_(30)
        check = found(examine([broken]), "round trip")
        assert check.finding == "unfit"
        assert "log p is no longer a likelihood" in check.remedy and "raise flow.steps" in check.remedy

    def test_weights_that_are_no_numbers_are_unfit(self) -> None:
        broken = head()
        with torch.no_grad():
            broken.flow.bijections[-1].net.last.bias[0] = math.nan
        assert found(examine([broken]), "float32 against float64").finding == "unfit"

    def test_a_matrix_that_is_nearly_singular_explodes_on_the_way_back(self) -> None:
        broken = head()
        with torch.no_grad():
            broken.flow.bijections[2].log_scale[0] = -16.0
        checks = examine([broken])
        assert found(checks, "round trip", "3 Mixing").finding in ("watch", "unfit")
        assert found(checks, "round trip").value > 1e-3
        trips = [check for check in checks if "round trip" in check.question]
        elsewhere = [check for check in trips if check.layer not in ("", "3 Mixing")]
        assert elsewhere and {check.finding for check in elsewhere} == {"ok"}

    def test_scales_at_their_clamp_are_watched(self) -> None:
        pressed = head("realnvp")
        with torch.no_grad():
            pressed.flow.bijections[-1].net.last.bias[0] = 50.0
        last = pressed.flow.bijections[-1]
        name = f"{len(pressed.flow.bijections)} {type(last).__name__}"
        check = found(examine([pressed]), "share of its clamp", name)
        assert check.value == pytest.approx(1.0, abs=1e-3) and check.finding == "watch"

    def test_vectors_from_elsewhere_show_in_the_moments(self) -> None:
        one = head()
        checks = examine([dataclasses.replace(one, vectors=3 * one.vectors + 2)])
        for words in ("mean of z", "variance of z", "Kolmogorov-Smirnov"):
            assert found(checks, words).finding != "ok"

    def test_heavy_tails_suggest_another_base(self) -> None:
        gaussian = build_flow("gaussian", 6, 0)
        vectors = torch.from_numpy(stats.t(df=3).rvs((4000, 6), random_state=0) / math.sqrt(3)).float()
        level = SimpleNamespace(flow=gaussian)
        heavy = Head(1, level, vectors, torch.zeros(4000, 0), "gaussian", None)  # type: ignore[arg-type]
        check = found(examine([heavy]), "kurtosis")
        assert check.finding == "watch" and "student_t" in check.remedy

    def test_student_t_is_measured_by_its_own_law(self) -> None:
        checks = examine([head("realnvp", base="student_t")])
        assert found(checks, "Kolmogorov-Smirnov").finding == "ok"
        assert not [check for check in checks if "kurtosis" in check.question]


class TestDraw:
    @pytest.mark.parametrize("family", ["nice", "maf", "iaf", "planar", "spline", "cnf"])
    def test_what_a_density_draws_is_typical_of_its_own_samples(self, family: str) -> None:
        (drawn,) = draw_embeddings([head(family)], 2000, seed=5)
        assert drawn.vectors.shape == (2000, 6)
        assert drawn.share_typical == pytest.approx(0.95, abs=0.03)
        assert drawn.likelihood_distance < 0.06
        assert drawn.separation == pytest.approx(0.5, abs=0.05)
        assert drawn.drawn_nats == pytest.approx(drawn.real_nats, abs=0.05)

    def test_a_density_of_other_vectors_is_distinguished(self) -> None:
        one = head()
        (drawn,) = draw_embeddings([dataclasses.replace(one, vectors=0.3 * one.vectors)], 2000, seed=5)
        assert drawn.separation > 0.9

    def test_near_copies_within_a_part_do_not_tell_drawn_from_real(self) -> None:
        """Neighbouring places of a picture: their vectors, right for the density, come in near-copies."""
        one = head(count=1000)
        context = one.context.repeat(2, 1)
        vectors = one.vectors.repeat(2, 1) + 1e-3 * torch.randn(2000, 6)
        parts = torch.cat([one.parts, one.parts])
        siblings = dataclasses.replace(one, vectors=vectors, context=context, parts=parts)
        (honest,) = draw_embeddings([siblings], 2000, seed=5)
        assert honest.separation == pytest.approx(0.5, abs=0.05)
        # The same vectors, each said to be of another part than its copy, as if parts did not matter:
        (fooled,) = draw_embeddings([dataclasses.replace(siblings, parts=torch.arange(2000))], 2000, seed=5)
        assert fooled.separation > 0.95

    @pytest.mark.parametrize(("parts", "said"), [(torch.zeros(2000), "at least 2 tune parts"), (None, "fit again")])
    def test_without_parts_to_split_by_there_is_no_such_figure(self, parts: torch.Tensor | None, said: str) -> None:
        (drawn,) = draw_embeddings([dataclasses.replace(head(), parts=parts)], 200, seed=5)
        assert drawn.separation is None and said in drawn.no_separation
        assert drawn.share_typical > 0.9

    def test_a_seed_draws_the_same_again(self) -> None:
        first, again, other = (draw_embeddings([head()], 200, seed)[0].vectors for seed in (1, 1, 2))
        assert np.array_equal(first, again) and not np.array_equal(first, other)

    def test_only_archives_are_written(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"ends in \.npz"):
            write_embeddings([], tmp_path / "a.csv")


class TestCommands:
    def test_a_good_bundle_may_be_shipped_and_drawn_from(self, bundle_path: Path, tmp_path: Path, cli: Cli) -> None:
        examined = cli("doctor", bundle_path)
        assert examined.code == 0, examined.out
        assert "Nothing speaks against shipping" in examined.out
        told = json.loads(cli("doctor", bundle_path, "--json").out)
        assert told["fit_to_ship"] is True and told["notes"] == []
        assert told["bundle"] == open_bundle(bundle_path).card.bundle_id
        assert {check["level"] for check in told["checks"]} == {1, 2}
        assert {check["finding"] for check in told["checks"]} <= {"ok", "watch"}
        drawn = cli("draw", bundle_path, "--count", "300", "--out", tmp_path / "drawn.npz")
        assert drawn.code == 0, drawn.err
        arrays = np.load(tmp_path / "drawn.npz")
        assert arrays["level_1"].shape == (300, 64) and arrays["level_2"].shape == (300, 128)

    def test_a_broken_one_may_not(self, bundle_copy: Path, cli: Cli) -> None:
        """Its flow was altered, and the card resealed, as a faulty tool of one's own might do."""
        bundle = open_bundle(bundle_copy)
        weights = safetensors.torch.load_file(bundle_copy / FLOW)
        name = next(name for name in weights if name.startswith("densities.0.flow") and name.endswith("last.bias"))
        weights[name][0] = math.nan
        safetensors.torch.save_file(weights, bundle_copy / FLOW)
        digests = bundle.card.checksums | {FLOW: file_digest(bundle_copy / FLOW)}
        save_bundle(bundle_copy, bundle.card.model_copy(update={"checksums": digests}))
        examined = cli("doctor", bundle_copy)
        assert examined.code == 1
        assert "unfit" in examined.out and "Do not ship" in examined.err
        examined = cli("doctor", bundle_copy, "--json")
        told = json.loads(examined.out)
        assert examined.code == 1 and told["fit_to_ship"] is False
        assert any(check["value"] is None and check["finding"] == "unfit" for check in told["checks"])
