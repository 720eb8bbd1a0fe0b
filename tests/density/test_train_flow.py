"""Learning from cached vectors: it gets better, stops, keeps the best, repeats, and continues where it was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from defectflow.common.progress import Progress
from defectflow.density.checkpoints import choose_device
from defectflow.density.condition import position_condition
from defectflow.density.train import Run, train_flow
from defectflow.density.whitening import SHRINKAGE, Normalisation, fit_normalisation
from defectflow.embedding.vectors import Vectors
from defectflow.errors import TrainingError
from defectflow.flows.build import Family, build_flow
from defectflow.flows.flow import Flow
from defectflow.recipe.settings import TrainingSettings

torch.set_num_threads(1)  # on a busy machine, threads wait for each other in spinning loops
SIDE, DEPTH = 4, 6
EVERYWHERE = np.arange(SIDE * SIDE)
CPU = torch.device("cpu")
families = pytest.mark.parametrize("family", ["realnvp", "glow"])


def vectors(pictures: int, seed: int, places: np.ndarray = EVERYWHERE) -> Vectors:
    """Two clusters on a bent, correlated cloud whose centre moves with the place."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(pictures, SIDE, SIDE, DEPTH))
    x[..., 1] += 0.7 * x[..., 0] ** 2
    x[..., 2] = np.where(random.random(x.shape[:3]) < 0.5, 3, -3) + 0.3 * x[..., 2]
    x[..., 3] += np.arange(SIDE)
    x[..., 5] += x[..., 4]
    return Vectors(x.astype(np.float16), places)


def make(family: Family = "realnvp", seed: int = 0) -> Flow:
    torch.manual_seed(seed)
    match family:
        case "gaussian":
            sizes = {}
        case "cnf":
            sizes = {"objective": "matching"}
        case "nice":
            sizes = {"layers": 3}
        case _:
            sizes = {"layers": 3, "clamp": 2.0}
    return build_flow(family, DEPTH, 32, hidden=24, seed=seed, **sizes)


def settings(**changes: object) -> TrainingSettings:
    values = {"steps": 60, "batch": 256, "learning_rate": 5e-3, "warmup": 5, "check_every": 10, "device": "cpu"}
    return TrainingSettings.model_validate(values | changes)


def learn(flow: Flow, folder: Path, train: Vectors | None = None, tune: Vectors | None = None, **options) -> Run:
    changes = options.pop("settings", {})
    options = {"checkpoint": folder / "level0.safetensors", "name": "learn level 2"} | options
    return train_flow(
        flow,
        position_condition(SIDE, SIDE).flatten(0, 1),
        train or vectors(20, 1),
        tune or vectors(10, 2),
        settings(**changes),
        device=CPU,
        **options,
    )


@torch.no_grad()
def nats_per_dim(flow: Flow, data: Vectors) -> float:
    """Over every vector inside the region of interest, each once."""
    rows = torch.from_numpy(data.maps.astype(np.float32)).flatten(1, 2)[:, data.places]
    context = position_condition(SIDE, SIDE).flatten(0, 1)[data.places]
    return -flow.log_prob(rows, context).mean().item() / DEPTH


@families
def test_learning_lowers_the_loss_on_tune_parts(family: Family, tmp_path: Path) -> None:
    flow, unseen = make(family), vectors(20, 3)
    before = nats_per_dim(flow, unseen)
    run = learn(flow, tmp_path)
    tune = [look[2] for look in run.history]
    assert [look[0] for look in run.history] == [10, 20, 30, 40, 50, 60]
    assert tune[-1] < tune[0] - 0.02
    assert nats_per_dim(flow, unseen) < before - 0.3
    assert not flow.training


def test_learning_stops_early_and_keeps_the_best_state(tmp_path: Path) -> None:
    few, tune = vectors(1, 1), vectors(10, 2)  # sixteen vectors are soon learned by heart
    flow = make()
    run = learn(flow, tmp_path, few, tune, settings={"steps": 5000, "patience": 3, "learning_rate": 1e-2})
    steps, train_losses, tune_losses = zip(*run.history, strict=True)
    assert run.step == steps[-1] < 1000
    assert run.best_step == steps[-4]  # three looks without gain
    assert run.best_tune == min(tune_losses) < tune_losses[-1]
    assert train_losses[-1] < train_losses[steps.index(run.best_step)]
    assert nats_per_dim(flow, tune) == pytest.approx(run.best_tune, abs=0.05)
    assert nats_per_dim(flow, tune) < tune_losses[-1] - 0.05


def test_the_caller_hears_how_it_goes(tmp_path: Path) -> None:
    heard: list[Progress] = []
    run = learn(make(), tmp_path, watch=heard.append)
    assert [event.done for event in heard] == [10, 20, 30, 40, 50, 60, 60]
    assert all(event.stage == "learn level 2" and event.total == 60 for event in heard)
    assert f"{run.history[0][2]:.4f} nats/dim" in heard[0].detail
    assert heard[-1].note == f"best tune loss at step {run.best_step}"
    assert f"{run.best_tune:.4f} nats/dim" in heard[-1].detail


def same(first: Flow, second: Flow) -> bool:
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)


def test_the_seed_decides(tmp_path: Path) -> None:
    flows = [make() for _ in range(3)]
    for flow, seed in zip(flows, (7, 7, 8), strict=True):
        learn(flow, tmp_path, settings={"seed": seed})
    assert same(flows[0], flows[1])
    assert not same(flows[0], flows[2])


class Interrupted(Vectors):
    """Training vectors that stop the run at the given draw, as Ctrl-C would between two looks."""

    draws = 0
    stop_at = 0

    def draw(self, count: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        Interrupted.draws += 1
        if Interrupted.draws == Interrupted.stop_at:
            raise KeyboardInterrupt
        return super().draw(count, random)


def stop_at_an_evaluation(step: int):
    def watch(progress: Progress) -> None:
        if progress.done == step:
            raise KeyboardInterrupt

    return watch


STOPPED = ["at an evaluation", "between evaluations", "before the first evaluation", "while saving", "twice"]
STOPS = [("realnvp", stopped) for stopped in STOPPED]
STOPS += [(family, "between evaluations") for family in get_args(Family) if family != "realnvp"]


@pytest.mark.parametrize(("family", "stopped"), STOPS)
def test_resuming_gives_exactly_what_an_unbroken_run_gives(
    family: Family, stopped: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = make(family)
    whole = learn(unbroken, tmp_path / "unbroken")

    folder = tmp_path / "broken"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        match stopped:
            case "at an evaluation" | "twice":
                learn(make(family), folder, watch=stop_at_an_evaluation(30))
            case "between evaluations" | "before the first evaluation":
                data = vectors(20, 1)
                Interrupted.draws, Interrupted.stop_at = 0, 38 if stopped == "between evaluations" else 5
                learn(make(family), folder, Interrupted(data.maps, data.places))
            case "while saving":
                saves = []

                def half(tensors, path, metadata) -> None:
                    saves.append(path)
                    if len(saves) == 3:
                        Path(path).write_bytes(b"half a file")
                        raise KeyboardInterrupt
                    save_file(tensors, path, metadata)

                save_file = safetensors.torch.save_file
                patch.setattr(safetensors.torch, "save_file", half)
                learn(make(family), folder)
    if stopped == "twice":
        with pytest.raises(KeyboardInterrupt):
            learn(make(family, seed=5), folder, resume=True, watch=stop_at_an_evaluation(50))

    # Other starting weights, where a checkpoint exists: all of the state must come from it.
    resumed = make(family, seed=0 if stopped == "before the first evaluation" else 99)
    run = learn(resumed, folder, resume=True)
    assert same(resumed, unbroken)
    assert (run.step, run.best_step, run.best_tune) == (whole.step, whole.best_step, whole.best_tune)
    assert [tuple(look) for look in run.history] == whole.history


def test_what_a_step_draws_depends_on_its_number_alone(tmp_path: Path) -> None:
    """By likelihood, too, a continuous flow draws noise: the divergence's probe and what is added to a vector."""

    def flow() -> Flow:
        torch.manual_seed(0)
        return build_flow("cnf", DEPTH, 32, hidden=8, augmented=2, tolerance=0.01, trace="rademacher", jacobian=0.01)

    unbroken, resumed = flow(), flow()
    learn(unbroken, tmp_path / "unbroken", settings={"steps": 20})
    with pytest.raises(KeyboardInterrupt):
        learn(flow(), tmp_path / "broken", settings={"steps": 20}, watch=stop_at_an_evaluation(10))
    torch.manual_seed(12345)
    learn(resumed, tmp_path / "broken", settings={"steps": 20}, resume=True)
    assert same(resumed, unbroken)


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    flow, again = make(), make(seed=3)
    learn(flow, tmp_path)
    saved = (tmp_path / "level0.safetensors").stat().st_mtime_ns
    learn(again, tmp_path, resume=True)
    assert same(flow, again)
    assert (tmp_path / "level0.safetensors").stat().st_mtime_ns == saved


def test_without_resume_an_old_checkpoint_is_not_looked_at(tmp_path: Path) -> None:
    first, second = make(), make()
    with pytest.raises(KeyboardInterrupt):
        learn(make(seed=4), tmp_path, watch=stop_at_an_evaluation(30))
    learn(first, tmp_path)
    learn(second, tmp_path / "fresh")
    assert same(first, second)


def spoiled(data: Vectors) -> Vectors:
    data.maps[...] = np.inf
    return data


def test_a_loss_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"learn level 2: .* at step 0 .*lower training\.learning_rate"):
        learn(make(), tmp_path, spoiled(vectors(20, 1)))
    with pytest.raises(
        TrainingError, match=r"learn level 2: .*tune parts .* at step 10 .*lower training\.learning_rate"
    ):
        learn(make(), tmp_path, tune=spoiled(vectors(10, 2)))


def test_an_absurd_learning_rate_is_an_error(tmp_path: Path) -> None:
    torch.manual_seed(0)
    flow = build_flow("realnvp", DEPTH, 32, layers=24, hidden=24, clamp=10.0)
    absurd = {"learning_rate": 1.0, "warmup": 0, "clip": 1e30, "steps": 400}
    with pytest.raises(TrainingError, match=r"learn level 2: the loss .* at step \d+ with learning rate") as error:
        learn(flow, tmp_path, settings=absurd)
    assert "flow.clamp" in str(error.value)


def test_only_places_inside_the_region_of_interest_are_drawn() -> None:
    maps = np.full((5, SIDE, SIDE, DEPTH), 999, np.float16)
    inside = np.array([1, 6, 7, 14])
    for picture in range(5):
        for place in inside:
            maps[picture].reshape(-1, DEPTH)[place] = picture * 16 + place
    rows, places = Vectors(maps, inside).draw(2000, np.random.default_rng(0))
    assert set(places.tolist()) == set(inside)
    assert set(rows[:, 0].tolist()) == {float(picture * 16 + place) for picture in range(5) for place in inside}
    assert ((rows % 16) == places[:, None]).all()  # each vector comes with its own place
    for picture in range(5):
        rows, places = Vectors(maps, inside).of_picture(picture)
        assert places.tolist() == inside.tolist()
        assert rows[:, 0].tolist() == [float(picture * 16 + place) for place in inside]


def test_a_sampled_vector_comes_with_the_place_it_is_from() -> None:
    random = np.random.default_rng(0)
    sampled = np.stack([random.permutation(400)[:6] for _ in range(5)]).astype(np.int32)  # 6 of 400 places each
    maps = np.repeat(sampled[:, None, :, None], DEPTH, axis=3).astype(np.float16)  # each vector says its place
    data = Vectors(maps, np.arange(6), sampled)
    rows, places = data.draw(300, random)
    assert rows[:, 0].tolist() == places.tolist()
    assert set(places.tolist()) == set(sampled.ravel().tolist())
    assert data.rows(3).of_picture(1)[1].tolist() == sampled[4].tolist()
    assert data.rows(0, 2).of_picture(1)[0][:, 0].tolist() == sampled[1].tolist()


def test_normalisation_does_not_see_outside_the_region_of_interest(tmp_path: Path) -> None:
    inside = np.array([1, 6, 7, 14])
    data = vectors(50, 1, inside)
    expected, normalisation = Normalisation(DEPTH), Normalisation(DEPTH)
    fit_normalisation(expected, data, "whiten")
    outside = np.setdiff1d(EVERYWHERE, inside)
    data.maps.reshape(50, -1, DEPTH)[:, outside] = 10_000
    fit_normalisation(normalisation, data, "whiten")
    assert torch.equal(normalisation.mean, expected.mean) and torch.equal(normalisation.matrix, expected.matrix)


def normalised(data: Vectors, how: str) -> np.ndarray:
    normalisation = Normalisation(data.maps.shape[-1])
    fit_normalisation(normalisation, data, how)
    return normalisation(torch.from_numpy(data.maps.astype(np.float32))).flatten(0, 2).numpy()


def test_whitening_leaves_no_correlation() -> None:
    data = vectors(200, 1)
    raw = np.cov(data.maps.reshape(-1, DEPTH).astype(float).T)
    assert np.abs(np.corrcoef(data.maps.reshape(-1, DEPTH).astype(float).T) - np.eye(DEPTH)).max() > 0.1
    white = normalised(data, "whiten")
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(white.T), np.eye(DEPTH), atol=0.02)
    shrunk = raw @ np.linalg.inv(raw + SHRINKAGE * np.trace(raw) / DEPTH * np.eye(DEPTH))
    np.testing.assert_allclose(np.cov(white.T), shrunk, atol=1e-3)


def test_standardising_leaves_unit_variances_and_the_correlations() -> None:
    data = vectors(200, 1)
    rows = data.maps.reshape(-1, DEPTH).astype(float)
    standard = normalised(data, "standardise")
    np.testing.assert_allclose(standard.var(0), 1, atol=0.01)
    np.testing.assert_allclose(np.corrcoef(standard.T), np.corrcoef(rows.T), atol=1e-4)


@pytest.mark.parametrize("how", ["whiten", "standardise"])
def test_a_channel_that_is_dead_in_training_does_not_shout_on_the_line(how: str) -> None:
    data = vectors(50, 1)
    data.maps[..., 2] = 0
    normalisation = Normalisation(DEPTH)
    fit_normalisation(normalisation, data, how)
    seen = torch.zeros(1, DEPTH)
    seen[:, 2] = 0.05  # a twentieth of what live channels vary by
    assert (normalisation(seen) - normalisation(torch.zeros(1, DEPTH))).abs().max() < 2


def test_cuda_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match=r"training\.device: cuda.*use auto or cpu"):
        choose_device(settings(device="cuda"))
    assert choose_device(settings(device="auto")) == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device(settings(device="auto")).type == "cuda"
    assert choose_device(settings(device="cpu")) == CPU
