"""Parameters of a tiny model in memory, with weights that a test may change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tiny_models import TINY, save_tiny

from qairt.model.describe import describe_model
from qairt.model.parameters import Parameters, open_parameters

TOKENS = [np.random.default_rng(seed).integers(3, 128, 24) for seed in range(3)]
"""Chunks of ids for a tiny model's vocabulary."""


def parameters_of(directory: Path, name: str, **changes: Any) -> Parameters:
    """Those of a model of `TINY`, with windows and kinds of layers as its family has them."""
    family, own = TINY[name]
    return tiny_parameters(directory, family, **{**own, **changes})


def tiny_parameters(
    directory: Path,
    family: str = "llama",
    change: Callable[[Parameters], Mapping[str, np.ndarray]] | None = None,
    **changes: Any,
) -> Parameters:
    """Saved into `directory` and opened; `change` gives parameters that are read instead of the stored ones."""
    save_tiny(directory, family, **changes)
    config = describe_model(directory).config
    parameters = open_parameters(directory, config)
    return parameters if change is None else open_parameters(directory, config, overlay=change(parameters))
