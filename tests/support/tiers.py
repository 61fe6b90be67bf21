"""How far tiny models of each family are taken: `python tests/support/tiers.py` prints the table.

1. float      logits against transformers, from random weights (`tests/model/test_families.py`)   every variant
2. quantized  a whole run for the CPU, every rung of `qairt verify`                                every variant
3. compiled   every form of its graphs on the HTP emulator                                         one for each family
4. genie      a bundle through the vendor's runtime                                                some

Embedding models are rows of their own: tiers 1 in `tests/model/test_sentence_transformers.py`, the others in
`tests/e2e/test_embedding.py`.
By default the tests of tiers 2 to 4 run a sample; `-m matrix` runs the rest. A family stands in tiers 1 and 2 by its
tiny models. `COMPILED` and `GENIE` list what stands in the others; a family that is not compiled says why in
`NOT_COMPILED`. `tests/families/test_table.py` fails for one without its row.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from tiny_embedders import EMBEDDERS
from tiny_models import TINY
from tiny_recipe import write_recipe

from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline
from qairt.model.families import FAMILIES

COMPILED: Mapping[str, str] = {
    "cohere": "parallel blocks, layer norms without bias, neighbours rotated together, multiplied logits",
    "cohere2": "parallel blocks, layer norms without bias, windows beside layers without rotary",
    "ernie4_5": "neighbours rotated together",
    "exaone4": "norms after, q/k norm, windows beside layers without rotary",
    "gemma2": "norms on both sides, GELU, capped scores and logits, windows on every second layer",
    "gemma3_text": "q/k norm of 1 + w, a rotary embedding of windowed layers",
    "glm4": "a part of each head rotated, neighbours together",
    "gpt_oss": "experts with biases and clamped gates, attention sinks, windows on every second layer, yarn",
    "granite": "multipliers",
    "granitemoe": "experts, multipliers",
    "hunyuan_v1_dense": "q/k norm after rotary",
    "lfm2": "short convolutions, q/k norm",
    "llama": "nothing beyond Llama",
    "ministral": "windows on some layers",
    "mistral-windows": "windows in every layer",
    "mixtral": "experts",
    "nemotron": "layer norms of 1 + w, squared ReLU, no gate",
    "olmo2": "norms after, q/k norm over the whole width",
    "olmo3": "norms after, q/k norm over the whole width, windows on some layers",
    "olmoe": "experts whose weights do not add up to 1, q/k norm over the whole width",
    "phi3-partial-longrope": "longrope, a part of each head rotated",
    "qwen2": "q/k/v biases",
    "qwen3": "q/k norm",
    "qwen3_moe": "experts",
    "smollm3": "layers without rotary",
    "stablelm-parallel": "layer norms with bias, q/k norm",
    "starcoder2": "layer norms with bias, a plain MLP",
}
"""Tiny models of tier 3 -> the features they stand for."""
NOT_COMPILED: Mapping[str, str] = {}
"""A family that is not compiled -> why."""
GENIE = ("llama", "qwen3", "qwen3_moe", "phi3")
"""Tiny models of tier 4."""
COMPILED_EMBEDDERS = ("gemma3_text", "qwen3")
"""Tiny embedding models of tiers 3 and 4: the emulator's vectors and Genie's are the CPU's."""
SAMPLED = ("qwen3", "gemma3_text")
"""Tiny models of the default tests of tier 2; tier 3 takes the first, which has the form that was miscompiled."""


def quantized_run(folder: Path, name: str, *, single_heads: bool = True, **recipe: Any) -> LLMPipeline:
    """A finished run of a tiny model for the CPU, up to its quantized parts.

    Args:
        name: in `TINY`.
        recipe: for `write_recipe`.
    """
    family, changes = TINY[name]
    path = write_recipe(folder, family=family, **({"backend": "CPU", "technique": "minmax.yaml"} | changes | recipe))
    unused = ["export_bundle", *([] if single_heads else ["mha_to_sha_conversion"])]  # no bundle has two masks
    text = path.read_text()
    for stage in unused:
        assert f"  {stage}: {{}}\n" in text
        text = text.replace(f"  {stage}: {{}}\n", "")
    path.write_text(text)
    pipeline = LLMPipeline.from_recipe(path, cache_dir=folder / "cache")
    result = pipeline.construct(RunOptions(executor="inline", jobs=1, until="quantize")).result
    assert result.status == "done", result.failed
    return pipeline


def tiers(family: str) -> tuple[str, str, str]:
    """The tiny models of a family that stand in tier 1 and 2, 3, and 4."""
    own = [name for name, (found, _) in TINY.items() if found == family]
    compiled = [name for name in COMPILED if name in own]
    return (
        ", ".join(own),
        ", ".join(compiled) or NOT_COMPILED.get(family, ""),
        ", ".join(name for name in GENIE if name in own),
    )


def embedding_tiers(family: str) -> tuple[str, str, str]:
    """The same of its embedding models."""
    own = [name for name, made in EMBEDDERS.items() if made["family"] == family]
    compiled = ", ".join(name for name in COMPILED_EMBEDDERS if name in own)
    return ", ".join(own), compiled, compiled


def table() -> list[str]:
    """One line for each family, and for its embedding models."""
    rows: list[tuple[str, ...]] = [("family", "float and quantized", "compiled", "genie")]
    for name, family in FAMILIES.items():
        rows.append((name, *tiers(name)))
        if family.embedding is not None:
            rows.append((f"{name} (embedding)", *embedding_tiers(name)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


if __name__ == "__main__":
    print("\n".join(table()))
