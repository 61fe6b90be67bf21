"""The matrices of the vocabulary, some tokens at a time, are those that are read whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from tiny_models import save_tiny, tiny_model, write_tiny_gguf

from qairt.errors import ModelError
from qairt.model.describe import describe_model
from qairt.model.layout import EMBEDDING, LM_HEAD
from qairt.model.open_weights import open_weights
from qairt.model.parameters import Parameters, open_parameters
from qairt.model.rotation import Rotation


def parts(parameters: Parameters, name: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    monkeypatch.setattr("qairt.model.parameters._BAND", at_once * parameters.config.hidden_size)
    found = list(parameters.vocabulary(name))
    assert [start for start, _ in found] == list(range(0, parameters.config.vocab_size, at_once))
    return [values for _, values in found]


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("rotated", [True, False], ids=["rotated", "plain"])
@pytest.mark.parametrize("overlaid", [True, False], ids=["changed", "stored"])
def test_together_they_are_the_whole(
    tmp_path: Path, tied: bool, rotated: bool, overlaid: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny(tmp_path, "llama", tie_word_embeddings=tied)
    config = describe_model(tmp_path).config
    rotation = Rotation.of(config) if rotated else None
    overlay = None
    if overlaid:
        random = np.random.default_rng(0)
        shapes = {EMBEDDING: (128, config.hidden_size), LM_HEAD: (config.hidden_size, 128)}
        overlay = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    parameters = open_parameters(tmp_path, config, overlay, rotation)
    for name, axis in ((EMBEDDING, 0), (LM_HEAD, 1)):
        found = parts(parameters, name, 50, monkeypatch)
        assert [part.shape[axis] for part in found] == [50, 50, 28]
        np.testing.assert_allclose(np.concatenate(found, axis), parameters.read(name), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_1"])
def test_rows_of_a_gguf_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.gguf"
    write_tiny_gguf(path, tiny_model("llama"), kind=GGMLQuantizationType[kind])
    source = open_weights(path)
    for name in (EMBEDDING, "model.layers.0.self_attn.q_proj.weight"):
        whole = source.read(name)
        for rows in (slice(3, 17), slice(0, 1), slice(20, 10_000)):
            np.testing.assert_array_equal(source.read(name, rows), whole[rows])


def test_only_the_part_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN in a later part is found when that part is read; a wrong shape before the first."""
    model = save_tiny(tmp_path, "llama")
    config = describe_model(tmp_path).config
    weights = {name: value.detach().numpy().copy() for name, value in model.named_parameters()}
    weights[EMBEDDING][100, 3] = np.nan
    parameters = Parameters(open_weights(tmp_path), config, {EMBEDDING: weights[EMBEDDING]})
    monkeypatch.setattr("qairt.model.parameters._BAND", 50 * config.hidden_size)
    iterator = parameters.vocabulary(EMBEDDING)
    assert next(iterator)[0] == 0
    assert next(iterator)[0] == 50
    with pytest.raises(ModelError, match="1 NaN or infinite value"):
        next(iterator)
    other = Parameters(open_weights(tmp_path), config.model_copy(update={"vocab_size": 96}))
    with pytest.raises(ModelError, match=r"shape \[128, 64\], expected \[96, 64\]"):
        next(other.vocabulary(EMBEDDING))
