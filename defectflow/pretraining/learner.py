"""A network that learns to describe places, step by step: crops in, better weights out."""

from __future__ import annotations

import copy
import math
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from defectflow.density import Tensors, optimiser_tensors, restore_optimiser, set_learning_rate
from defectflow.errors import TrainingError
from defectflow.pretraining.drawing import Dice
from defectflow.pretraining.objective import Descriptors, descriptor_loss
from defectflow.pretraining.settings import DescriptorSettings
from defectflow.pretraining.views import photographed, toned, warped
from defectflow.recipe import LearningSettings

AVERAGE_FROM = 10
"""The running average forgets faster in the first steps, so that nothing of the start is left in it."""


class Learner:
    """The network, its descriptors, the optimiser, and the running average of the network, which is what is kept."""

    def __init__(
        self,
        net: nn.Module,
        channels: list[int],
        mean: Tensor,
        std: Tensor,
        objective: DescriptorSettings,
        settings: LearningSettings,
        device: torch.device,
    ) -> None:
        """channels: of each level; mean, std (3, 1, 1): what the network's pixels, 0..1, are normalised with."""
        self.net = net.to(memory_format=torch.channels_last).to(device).train().requires_grad_(True)
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.descriptors = Descriptors(channels, objective.width).to(device)
        self.mean, self.std = mean.to(device), std.to(device)
        self.objective, self.settings = objective, settings
        self.optimiser = torch.optim.AdamW(
            self._parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
        )
        self.steps = 0

    def step(self, crop: Tensor, dice: Dice) -> list[float]:
        """Learn from crops (N, 3, S, S) in 0..1; returns per level the share of places recognised.

        Raises TrainingError on a loss that is not a number.
        """
        rate = set_learning_rate(self.optimiser, self.steps, self.settings)
        loss, recognised = self._loss(crop, dice)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._parameters(), self.settings.clip)
        if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
            raise TrainingError(
                f"the loss of the backbone became {loss.item():g} (gradient norm {norm.item():g}) at step "
                f"{self.steps} with learning rate {rate:g}; lower its learning_rate or its clip"
            )
        self.optimiser.step()
        self.steps += 1
        self._average(min(self.objective.average, self.steps / (self.steps + AVERAGE_FROM)))
        return recognised

    def state(self) -> dict[str, Tensors]:
        """All that learning continues from."""
        return {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "descriptors": self.descriptors.state_dict(),
            "optimiser": optimiser_tensors(self.optimiser),
        }

    def restore(self, state: dict[str, Tensors], steps: int) -> None:
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.descriptors.load_state_dict(state["descriptors"])
        restore_optimiser(self.optimiser, state["optimiser"])
        self.steps = steps

    def weights(self, metadata: dict[str, str]) -> bytes:
        """The averaged network as an fp16 safetensors file."""
        tensors = {
            name: tensor.cpu().half().contiguous()
            for name, tensor in self.average.state_dict().items()
            if tensor.is_floating_point()
        }
        return bytes(safetensors.torch.save(tensors, metadata))

    def _loss(self, crop: Tensor, dice: Dice) -> tuple[Tensor, list[float]]:
        """The sum of the levels' losses, and per level the share of places recognised."""
        crop = toned(crop, dice)
        again, matrix = warped(crop, dice)
        views = torch.cat([photographed(crop, dice), photographed(again, dice)])
        shown = ((views - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        with torch.autocast(shown.device.type, torch.bfloat16):
            levels: Any = self.net(shown)
            maps = self.descriptors(levels)
        losses, recognised = zip(*(descriptor_loss(level, matrix, self.objective, dice) for level in maps), strict=True)
        return torch.stack(losses).sum(), list(recognised)

    def _parameters(self) -> list[nn.Parameter]:
        return [*self.net.parameters(), *self.descriptors.parameters()]

    @torch.no_grad()
    def _average(self, memory: float) -> None:
        """average <- memory average + (1 - memory) net, batch statistics included."""
        for kept, new in zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, 1 - memory)
