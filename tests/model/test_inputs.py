"""Masks, cosines and sines of a decoder, and which of them a layer reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_graphs import export_tiny
from tiny_models import TINY

from qairt.graph import files
from qairt.graph.bind import bind
from qairt.model.inputs import LayerInputs, layer_inputs, masks, rotaries
from qairt.model.masks import additive_mask

COS, SIN = "position_ids_cos", "position_ids_sin"


def test_windowed_layers_beside_others_have_inputs_of_their_own(tmp_path: Path) -> None:
    family, changes = TINY["gemma3_text"]
    _, config, _ = export_tiny(tmp_path, family, **changes)
    local = LayerInputs("attention_mask_local", ("position_ids_cos_local", "position_ids_sin_local"))
    assert [layer_inputs(config, layer) == local for layer in range(6)] == [True] * 5 + [False]
    assert layer_inputs(config, 5) == LayerInputs("attention_mask", (COS, SIN))
    assert masks(config) == {"attention_mask_local": 8, "attention_mask": None}
    assert list(rotaries(config).values()) == [True, False]


def test_one_kind_of_layers_has_the_usual_names(tmp_path: Path) -> None:
    _, config, _ = export_tiny(tmp_path, "mistral", sliding_window=8)
    assert masks(config) == {"attention_mask": 8}
    assert rotaries(config) == {(COS, SIN): False}


def test_windowed_layers_have_caches_of_the_window(tmp_path: Path) -> None:
    family, changes = TINY["gemma2"]
    _, _, onnx = export_tiny(tmp_path, family, **changes)
    shapes = {value.name: list(value.shape) for value in bind(files.load(onnx), ar=4, cl=32).graph.inputs}
    assert shapes["attention_mask"] == [1, 1, 4, 32]
    assert shapes["attention_mask_local"] == [1, 1, 4, 12]
    assert shapes["past_key_0_in"] == [2, 1, 16, 8]
    assert shapes["past_key_1_in"] == [2, 1, 16, 28]


def test_a_window_that_hides_nothing_needs_no_mask_of_its_own(tmp_path: Path) -> None:
    family, changes = TINY["gemma2"]
    _, _, onnx = export_tiny(tmp_path, family, **changes)
    graph = bind(files.load(onnx), ar=2, cl=8).graph
    assert "attention_mask_local" not in {value.name for value in graph.inputs}
    assert "attention_mask_local" in {value.name for value in bind(files.load(onnx), ar=1, cl=9).graph.inputs}


@pytest.mark.parametrize(("window", "seen"), [(None, 6), (4, 4), (2, 2), (1, 1)])
def test_a_token_sees_itself_and_the_tokens_before_it_in_the_window(window: int | None, seen: int) -> None:
    mask = additive_mask(ar=3, cl=12, past=4, new=2, floor=-1.0, window=window)
    slots = 9 if window is None else window
    tokens = [*range(slots), slots + 1, slots + 2]  # padding is between
    assert mask.shape == (1, 1, 3, slots + 3)
    assert np.flatnonzero(mask[0, 0, 2] == 0).tolist() == tokens[-seen:]
