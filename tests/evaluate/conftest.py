"""A tiny random model as a subject of evaluation, on every target."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_fixtures import config, hf_model, parameters, tiny_directory, tokenizer
from tiny_parts import make_parts, measured_encodings

from qairt.evaluate.subject import EvaluationTarget, Subject
from qairt.model.config import DecoderConfig
from qairt.model.parameters import Parameters
from qairt.model.reference import Reference
from qairt.model.tokenizer import Tokenizer
from qairt.quant.encodings import Encodings
from qairt.runtime.parts import PartGraph
from qairt.runtime.torch_target import TorchGenerator

TEXT = " ".join(f"{word} {number}" for number in range(40) for word in ("quick", "brown", "fox"))
"""Some 450 bytes, so as many tokens; no two chunks alike."""


@pytest.fixture(autouse=True)
def few_threads() -> Iterator[None]:
    """Tiny models are not faster on more threads, and far slower where other processes compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, 2))
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def encodings(parameters: Parameters) -> Encodings:
    return measured_encodings(parameters, np.random.default_rng(0).integers(3, 259, 60).tolist())


@pytest.fixture(scope="session")
def parts(
    parameters: Parameters, encodings: Encodings, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, list[PartGraph]]:
    """Two parts, AR 1 and 8, CL 32."""
    return make_parts(
        tmp_path_factory.mktemp("parts"), parameters, ars=(1, 8), cl=32, num_splits=2, encodings=encodings
    )


@pytest.fixture
def subject_on(
    tmp_path: Path,
    parameters: Parameters,
    config: DecoderConfig,
    tokenizer: Tokenizer,
    encodings: Encodings,
    parts: dict[int, list[PartGraph]],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Subject]:
    """`subject_on("cpu")`; `text.txt` is in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)

    @contextmanager
    def generator():
        yield TorchGenerator(Reference(parameters, keep_weights=True), 64)

    def make(target: EvaluationTarget, **changes) -> Subject:
        settings = {
            "config": config,
            "tokenizer": tokenizer,
            "context_length": 32,
            "answer_length": 64,
            "identity": f"identity of {target}",
            "state_folder": tmp_path / "state",
            "open_parameters": lambda: parameters,
            "open_simulation": lambda: (parameters, encodings),
            "open_parts": lambda: parts,
            "open_generator": generator,
        }
        return Subject(target, **(settings | changes))

    return make
