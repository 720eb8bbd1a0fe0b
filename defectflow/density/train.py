"""Cached embeddings -> a learned density. One explicit loop, one level at a time.

Each step draws vectors over all training pictures and places and lowers their negative log-likelihood. Every
`check_every` steps the likelihood of tune parts is measured; the best state by it is kept, and training stops
when it has not improved for `patience` evaluations. A checkpoint is one safetensors file whose header holds the state.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from defectflow.common import Progress, Watch, unwatched
from defectflow.density.checkpoints import (
    load_checkpoint,
    optimiser_tensors,
    restore_optimiser,
    save_checkpoint,
    seed_of,
    set_learning_rate,
)
from defectflow.embedding import Vectors
from defectflow.errors import TrainingError
from defectflow.flows import Flow
from defectflow.recipe import TrainingSettings

TUNE_VECTORS = 32_768
"""Tune vectors that the loss is measured on, always the same ones."""


@dataclass(slots=True)
class Run:
    """How far a level's training is. Losses are negative log-likelihoods in nats per dimension."""

    step: int = 0
    best_step: int = 0
    best_tune: float = math.inf
    evaluations_without_gain: int = 0
    history: list[tuple[int, float, float]] = field(default_factory=list)
    """(step, mean train loss since the last evaluation, tune loss)"""
    finished: bool = False


def train_flow(
    flow: Flow,
    contexts: Tensor,
    train: Vectors,
    tune: Vectors,
    settings: TrainingSettings,
    *,
    device: torch.device,
    checkpoint: Path,
    resume: bool = False,
    name: str = "level",
    watch: Watch = unwatched,
) -> Run:
    """Train in place and leave the flow in its best state by the likelihood of tune parts.

    contexts (places, K): the condition of every place; train, tune: whitened vectors. Raises TrainingError on a loss
    that is not a number. However a run ends, `resume` goes on from its last checkpoint exactly as if nothing had
    happened: all that a step draws depends on its number alone.
    """
    flow.to(device).train()
    contexts = contexts.to(device)

    def batch(source: Vectors, count: int, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        vectors, places = source.draw(count, np.random.default_rng(seed))
        return vectors.to(device), contexts[places.to(device)]

    tune_vectors, tune_context = batch(tune, TUNE_VECTORS, (settings.seed, 1))

    @torch.no_grad()
    def loss_on_tune() -> float:
        return -flow.log_prob(tune_vectors, tune_context).mean().item() / flow.width

    if next(flow.parameters(), None) is None:  # a Gaussian whose places were measured has nothing to learn
        flow.eval()
        run = Run(best_tune=loss_on_tune(), finished=True)
        watch(Progress(name, 1, 1, "measured, nothing to train", f"tune loss {run.best_tune:.3f} nats per dimension"))
        return run
    optimiser = torch.optim.AdamW(flow.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    run, best = Run(), _state(flow)
    if resume and checkpoint.is_file():
        progress, groups = load_checkpoint(checkpoint, device)
        renamed = {"looks_without_gain": "evaluations_without_gain"}  # as checkpoints of version 0.1.0 have it
        run = Run(**{renamed.get(name, name): value for name, value in progress.items()})
        best = groups["best"]
        flow.load_state_dict(groups["flow"])
        restore_optimiser(optimiser, groups["optimiser"])
    else:
        flow.initialise(*batch(train, settings.batch, (settings.seed, 0)))

    started, first_step, losses = time.perf_counter(), run.step, list[float]()
    while run.step < settings.steps and not run.finished:
        rate = set_learning_rate(optimiser, run.step, settings)
        vectors, context = batch(train, settings.batch, (settings.seed, 2, run.step))
        loss = flow.loss(vectors, context, torch.Generator(device).manual_seed(seed_of(settings.seed, 3, run.step)))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(flow.parameters(), settings.clip)
        if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
            raise TrainingError(
                f"{name}: the loss became {loss.item():g} (gradient norm {norm.item():g}) at step {run.step} with "
                f"learning rate {rate:g}; lower training.learning_rate, training.clip or flow.clamp"
            )
        optimiser.step()
        losses.append(loss.item())
        run.step += 1
        if run.step % settings.check_every == 0 or run.step == settings.steps:
            tune_loss = loss_on_tune()
            if not math.isfinite(tune_loss):
                raise TrainingError(
                    f"{name}: the loss on tune parts became {tune_loss:g} at step {run.step} with learning rate "
                    f"{rate:g}; lower training.learning_rate, training.clip or flow.clamp"
                )
            run.history.append((run.step, sum(losses) / len(losses), tune_loss))
            losses.clear()
            if tune_loss < run.best_tune:
                run.best_tune, run.best_step, run.evaluations_without_gain = tune_loss, run.step, 0
                best = _state(flow)
            else:
                run.evaluations_without_gain += 1
            run.finished = run.evaluations_without_gain >= settings.patience or run.step == settings.steps
            state = {"flow": flow.state_dict(), "best": best, "optimiser": optimiser_tensors(optimiser)}
            save_checkpoint(checkpoint, asdict(run), state)
            left = (time.perf_counter() - started) / (run.step - first_step) * (settings.steps - run.step)
            note = f"{_how_it_goes(run, settings)}, at most {left:.0f} s left for this level"
            watch(Progress(name, run.step, settings.steps, note, f"{tune_loss:.4f} nats/dim on tune parts"))
    note, detail = f"best tune loss at step {run.best_step}", f"{run.best_tune:.4f} nats/dim on tune parts"
    watch(Progress(name, settings.steps, settings.steps, note, detail))
    flow.load_state_dict(best)
    flow.eval()
    return run


def _how_it_goes(run: Run, settings: TrainingSettings) -> str:
    if run.evaluations_without_gain:
        return f"no better at {run.evaluations_without_gain} evaluations; stops at {settings.patience}"
    return "tune loss still improving"


def _state(flow: Flow) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in flow.state_dict().items()}
