"""An external graph all the way: adopted, bound, split into parts and single heads, and compared with its model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from foreign_graphs import adopted
from tiny_graphs import cut_parts, feeds, run, tiny_parts
from tiny_models import hf_logits

from qairt.graph import files
from qairt.graph.foreign.bind import bind_foreign
from qairt.graph.mha2sha import to_single_heads
from qairt.model.describe import describe_model
from qairt.quant.encodings import Encodings

IDS = [5, 9, 2, 31, 8, 17, 30, 12]


def no_encodings(folder: Path) -> Path:
    path = folder / "empty.encodings"
    path.write_text(json.dumps({"version": "1.0.0", "activation_encodings": [], "param_encodings": []}))
    return path


def assert_computes_the_model(tmp_path: Path, model: Any, theirs: Path) -> None:
    """Prefill of 5 tokens, then 3 single tokens, through parts with single heads."""
    model.save_pretrained(tmp_path / "hf")
    config = describe_model(tmp_path / "hf").config
    onnx_path = adopted(tmp_path, theirs, no_encodings(tmp_path))
    expected = hf_logits(model, IDS)
    chains = {}
    for ar in (1, 5):
        path = onnx_path.with_name(f"ar{ar}.onnx")
        files.save(bind_foreign(files.load(onnx_path), ar=ar, cl=32), path)
        chains[ar] = cut_parts(path, tiny_parts(config, 3), f"parts{ar}")
        for place, part in enumerate(chains[ar][1:], 1):
            heads = to_single_heads(files.load(part), Encodings(), part.parent, f"{part.stem}.heads.bin")
            chains[ar][place] = part.with_name(f"{part.stem}_sha.onnx")
            files.save(heads.model, chains[ar][place])
    held: list[dict[str, np.ndarray]] = []
    rows = []
    for ids in (IDS[:5], *([token] for token in IDS[5:])):
        tensors = feeds(config, ids, held)
        for part in chains[len(ids)]:
            tensors |= run(part, tensors)
        rows.append(tensors["logits"][0])
        held.append(tensors)
    largest = np.abs(expected).max()
    assert np.abs(np.concatenate(rows) - expected).max() < 1e-4 * largest
