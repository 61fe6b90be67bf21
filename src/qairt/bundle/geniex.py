"""The bundle that GenieX imports as a local model: a Genie bundle, `metadata.json`, and graph names that it reads.

GenieX runs one graph for prompts and one to decode, at every context length, of the families that it has a factory for;
`geniex_reader` holds its rules. A prompt must leave as much room as the prompt graph's AR: it keeps the cache in that
graph's `CL - AR` slots while it reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from qairt.bundle.contents import PlacedGraph
from qairt.bundle.genie_config import GenieFiles, genie_config
from qairt.bundle.geniex_reader import DRAFTING, GRAPH_NAME, VISION, frequencies
from qairt.bundle.windows import require_one_kind
from qairt.errors import ModelError, RecipeError, ToolchainError
from qairt.graph.tensors import TensorSpec
from qairt.model.config import DecoderConfig
from qairt.model.rope import inverse_frequencies
from qairt.toolchain.qnn.graph_names import LETTER, PADDING, rename
from qairt.toolchain.qnn.inspection import inspect

FACTORIES = {"llama": "llama_v3_", "phi3": "phi_3_5_", "qwen2": "qwen2_5_", "qwen3": "qwen3_"}
"""What a model's id begins with, by family."""
_FALCON = "falcon_v3_"
"""For a Llama of this name."""
_STATED = re.compile(r"(meta_)?llama_?v?3_|phi_?3_(5_)?|qwen2_(5_)?|qwen3_|falcon_?v?3_")
"""How names begin that say the factory already."""
_TOLERANCE = 1e-5


def model_id(family: str, name: str) -> str:
    """The id by which GenieX chooses a factory: `llama_v3_2_3b_instruct` for Llama-3.2-3B-Instruct.

    Args:
        family: one of `FACTORIES`.
        name: of the model, in lower case with underscores.
    """
    begin = _FALCON if family == "llama" and "falcon" in name else FACTORIES[family]
    made = begin + (_STATED.sub("", name, count=1) if _STATED.match(name) else name or "model")
    if made.startswith(VISION):
        made = made.replace("_vl_", "_text_", 1)
    return f"{made}_model" if made.endswith(DRAFTING) or made == begin else made


def require_geniex(
    config: DecoderConfig, *, ars: Iterable[int], context_sizes: Iterable[int], has_adapters: bool
) -> None:
    """
    Raises:
        RecipeError: GenieX has no factory for the family, there are not two ARs, or the graphs take LoRA values.
        ModelError: it computes another rotary embedding than the model has.
    """
    if config.family not in FACTORIES:
        raise RecipeError(
            f"GenieX has no factory for model_type {config.family!r}",
            where="stages.export_bundle.format",
            remedy=f"it runs {', '.join(FACTORIES)}; export this model for genie or ort",
        )
    found, longest = sorted(set(ars)), max(context_sizes)
    if len(found) != 2:
        raise RecipeError(
            f"GenieX takes one AR for prompts and one for decoding; the graphs have AR {', '.join(map(str, found))}",
            where="stages.prepare_exports.arn",
            remedy="set arn to [1, 128], or export_bundle.format to genie",
        )
    if has_adapters:
        raise RecipeError(
            "GenieX has no LoRA adapters, and the graphs take their values",
            where="lora",
            remedy="export for genie or ort, or remove lora and run again",
        )
    require_one_kind(config, context_size=longest, program="GenieX")
    theirs, their_factor = frequencies(
        genie_config(config, context_size=longest, files=GenieFiles(["part"])), config.head_dim
    )
    ours, our_factor = inverse_frequencies(config, longest)
    if len(ours) != len(theirs) or not np.allclose(ours, theirs, rtol=_TOLERANCE, atol=0):
        raise _other_rotary(config, "other angles")
    if abs(our_factor - their_factor) > _TOLERANCE:
        raise _other_rotary(config, f"the factor {their_factor:.4f} on them instead of {our_factor:.4f}")


def _other_rotary(config: DecoderConfig, what: str) -> ModelError:
    kind = "of part of a head" if config.rope_scaling is None else f"of type {config.rope_scaling['rope_type']}"
    return ModelError(
        f"the model has a rotary embedding {kind}, for which GenieX computes {what}",
        where="rope_scaling",
        remedy="export this model for genie or ort",
    )


def geniex_metadata(name: str, graphs: Iterable[PlacedGraph]) -> dict[str, object]:
    """The content of `metadata.json`.

    Args:
        name: the model's id.
    """
    files = {
        graph.name: {"inputs": _tensors(graph.signature.inputs), "outputs": _tensors(graph.signature.outputs)}
        for graph in graphs
    }
    return {"model_id": name, "genie": {"supports_vision": False}, "model_files": files}


def _tensors(specs: Sequence[TensorSpec]) -> dict[str, object]:
    return {spec.name: _tensor(spec) for spec in specs}


def _tensor(spec: TensorSpec) -> dict[str, object]:
    found: dict[str, object] = {"shape": list(spec.shape), "dtype": spec.dtype}
    if spec.scale is not None:
        found["quantization_parameters"] = {"scale": spec.scale, "zero_point": -(spec.offset or 0)}
    return found


def name_for_geniex(path: Path) -> None:
    """Rename the graphs of a binary, in place, where GenieX would refuse their names: `__ar1_cl512_2_of_4` becomes
    `x_ar1_cl512_2_of_4`.

    Raises:
        ToolchainError: a name does not give AR, context and part, or the binary cannot be renamed.
    """
    names = [graph.name for graph in inspect(path).graphs]
    new = {name: _accepted(name, path) for name in names}
    changed = {old: name for old, name in new.items() if old != name}
    if not changed:
        return
    rename(path, changed)
    found = {graph.name for graph in inspect(path).graphs}
    if found != set(new.values()):
        raise ToolchainError(
            f"after renaming, its graphs are {', '.join(sorted(found))}", where=path.name, remedy="export for genie"
        )


def _accepted(name: str, path: Path) -> str:
    if GRAPH_NAME.fullmatch(name):
        return name
    core = name.lstrip(PADDING).replace("-", "_")
    ahead = len(name) - len(core) - 1
    made = core if ahead < 0 else f"{LETTER * ahead}_{core}"
    if not GRAPH_NAME.fullmatch(made):
        raise ToolchainError(
            f"GenieX cannot read AR, context and part from the graph name {name}",
            where=path.name,
            remedy="export for genie",
        )
    return made


def changed_names(graphs: Iterable[PlacedGraph]) -> list[PlacedGraph]:
    """The graphs under the names that GenieX reads."""
    return [PlacedGraph(graph.signature.graph_name, graph.signature, graph.file, graph.binary) for graph in graphs]
