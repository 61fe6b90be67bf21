"""A model with windows, and a rotary embedding of their own, through a whole run with a context above the window."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from tiny_models import TINY
from tiny_recipe import TEXT, write_recipe
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from qairt.engine.run.options import RunOptions
from qairt.evaluate.subject import EvaluationTarget
from qairt.llm import LLMPipeline


def test_every_stage_computes_the_float_model(tmp_path: Path) -> None:
    family, changes = TINY["gemma3_text-scaled"]
    path = write_recipe(tmp_path, family=family, backend="CPU", technique="minmax.yaml", **changes)
    recipe = yaml.safe_load(path.read_text())
    del recipe["stages"]["export_bundle"]
    assert recipe["stages"]["prepare_exports"]["context_length"] == 32
    assert changes["sliding_window"] == 8
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    pipeline = LLMPipeline.from_recipe(path, cache_dir=tmp_path / "cache")
    result = pipeline.construct(RunOptions(executor="inline", jobs=1)).result
    assert result.status == "done", result.failed
    for part in pipeline.verify().parts():
        assert part.judged_db > (25 if part.rung == "quantize" else 100), part

    text = tmp_path / "chunks.txt"
    text.write_text(TEXT[:64])  # two chunks, each beyond the window; a character is a token
    targets: tuple[EvaluationTarget, ...] = ("torch", "quantsim", "cpu")
    float_model, simulated, graphs = (pipeline.evaluate(to, dataset=text)["perplexity"] for to in targets)
    assert float_model == pytest.approx(perplexity_in_transformers(tmp_path / "model", TEXT[:64]), rel=1e-4)
    assert simulated == pytest.approx(graphs, rel=0.02)
    assert simulated == pytest.approx(float_model, rel=0.2)


@torch.no_grad()
def perplexity_in_transformers(model: Path, text: str) -> float:
    """Of two chunks of 32 tokens."""
    reader = AutoModelForCausalLM.from_pretrained(model, attn_implementation="eager")
    ids = torch.tensor(Tokenizer.from_file(str(model / "tokenizer.json")).encode(text).ids).reshape(2, 32)
    return float(reader(ids, labels=ids).loss.exp())
