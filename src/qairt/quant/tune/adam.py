"""The optimizer of the tuning, and its state on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

WARM_UP = 5
"""Steps in which the rate grows."""
BETAS, EPSILON = (0.9, 0.95), 1e-8


class Adam:
    """Adam with a rate that grows, then falls along a cosine."""

    def __init__(self, values: Mapping[str, Tensor], rate: float, steps: int) -> None:
        self.values = values
        self._rate = rate
        self.steps = steps
        """How many will be taken."""
        self.done = 0
        """Steps."""
        self.moments = {name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in values.items()}

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Change the values in place."""
        share = min(1.0, (self.done + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * self.done / self.steps))
        self.done += 1
        unbiased = [1 - beta**self.done for beta in BETAS]
        for name, gradient in gradients.items():
            first, second = self.moments[name]
            first.lerp_(gradient, 1 - BETAS[0])
            second.lerp_(gradient.square(), 1 - BETAS[1])
            size = (second / unbiased[1]).sqrt_().add_(EPSILON)
            self.values[name].sub_(first / unbiased[0] / size, alpha=share * self._rate)


class SavedSteps:
    """An optimizer's state in a file; loaded when created, if the file is intact and of the same work."""

    def __init__(self, path: Path, work: str, adam: Adam) -> None:
        self._path = path
        self._work = work
        self._adam = adam
        self._load()

    def save(self) -> None:
        """Replaces the file atomically."""
        adam = self._adam
        state = {f"value {name}": value.cpu() for name, value in adam.values.items()}
        for name, moments in adam.moments.items():
            state |= {f"moment {which} {name}": moment.cpu() for which, moment in enumerate(moments)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f"{self._path.name}.partial")
        save_file(state, partial, {"work": self._work, "done": str(adam.done)})
        partial.replace(self._path)

    def _load(self) -> None:
        try:
            with safe_open(self._path, "pt") as file:
                about = file.metadata() or {}
                if about.get("work") != self._work:
                    return
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError):
            return
        adam = self._adam
        for name, value in adam.values.items():
            value.copy_(state[f"value {name}"])
            for which, moment in enumerate(adam.moments[name]):
                moment.copy_(state[f"moment {which} {name}"])
        adam.done = int(about["done"])
