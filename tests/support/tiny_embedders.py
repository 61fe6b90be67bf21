"""Random embedding models as sentence-transformers publishes them, and what it makes of a text, written out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from tiny_models import SIZES
from tiny_recipe import write_recipe
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModel, PreTrainedModel

from qairt.model.families import FAMILIES

EMBEDDERS: dict[str, dict[str, Any]] = {
    f"{name}-{variant}" if variant else name: {"family": name, **made}
    for name, family in FAMILIES.items()
    if family.embedding is not None
    for variant, made in family.embedding.tiny.items()
}
"""Of every family with embedding models: name -> arguments of `save_embedder`."""
END = 256
"""What the tokenizer of a tiny recipe puts behind a text."""


@dataclass(frozen=True)
class TinyEmbedder:
    model: PreTrainedModel
    dense: list[torch.Tensor]
    kind: str
    normalize: bool

    @torch.no_grad()
    def vector(self, ids: Sequence[int]) -> np.ndarray:
        """The last token's state or the mean of all, through the linears, divided by its length."""
        hidden = self.model(torch.tensor([list(ids)])).last_hidden_state[0]
        vector = hidden.mean(0) if self.kind == "mean" else hidden[-1]
        for weight in self.dense:
            vector = weight @ vector
        return (torch.nn.functional.normalize(vector, dim=0) if self.normalize else vector).numpy()


def save_embedder(
    folder: Path, family: str, kind: str, dense: Sequence[int] = (), normalize: bool = True, **changes: Any
) -> TinyEmbedder:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**SIZES, **changes})
    model = AutoModel.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(mean=1.0 if "norm" in name else 0.0, std=0.2)
    model.save_pretrained(folder)
    names = ["Transformer", "Pooling", *["Dense"] * len(dense), *["Normalize"] * normalize]
    modules = []
    for index, name in enumerate(names):
        path = f"{index}_{name}" if index else ""
        modules.append({"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{name}"})
        (folder / path).mkdir(exist_ok=True)
    (folder / "modules.json").write_text(json.dumps(modules))
    modes = {"pooling_mode_mean_tokens": kind == "mean", "pooling_mode_lasttoken": kind == "last"}
    pooling = {"word_embedding_dimension": config.hidden_size, **modes, "include_prompt": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    weights, width = [], config.hidden_size
    for index, outputs in enumerate(dense):
        weights.append(0.2 * torch.randn(outputs, width))
        path = folder / f"{index + 2}_Dense"
        stated = {"in_features": width, "out_features": outputs, "bias": False}
        activation = {"activation_function": "torch.nn.modules.linear.Identity"}
        (path / "config.json").write_text(json.dumps(stated | activation))
        save_file({"linear.weight": weights[-1]}, path / "model.safetensors")
        width = outputs
    prompts = {"query": "search: ", "document": ""}
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    return TinyEmbedder(model, weights, kind, normalize)


def write_embedder_recipe(
    folder: Path, name: str, *, backend: str = "CPU", length: int = 16, without: Sequence[str] = (), **changes: Any
) -> tuple[Path, TinyEmbedder]:
    """A recipe for one of `EMBEDDERS`, whose graphs read `length` tokens.

    Args:
        changes: of its configuration.
    """
    path = write_recipe(folder, backend=backend, technique="minmax.yaml")
    model = folder / "model"
    (model / "model.safetensors").unlink()
    made = save_embedder(model, **{"vocab_size": 260, "eos_token_id": END, **EMBEDDERS[name], **changes})
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.post_processor = TemplateProcessing(single="$A <|end|>", special_tokens=[("<|end|>", END)])
    tokenizer.save(str(model / "tokenizer.json"))
    recipe = yaml.safe_load(path.read_text())
    recipe["stages"]["prepare_exports"] = {"context_length": length}
    for stage in without:
        del recipe["stages"][stage]
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path, made


def tokens(folder: Path, text: str) -> list[int]:
    """Those of a recipe's model, with what its tokenizer adds."""
    found: list[int] = Tokenizer.from_file(str(folder / "model" / "tokenizer.json")).encode(text).ids
    return found


def decibel(expected: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10(np.square(expected).sum() / np.square(expected - found).sum()))
