"""`qairt init`."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.amounts import size
from qairt.cli.console import say
from qairt.errors import QairtError, RecipeError

if TYPE_CHECKING:
    from qairt.model.config import DecoderConfig
    from qairt.model.describe import ModelDescription

_PART_BYTES = 1_000_000_000
"""Quantized bytes aimed at for a part: well below every limit, and quick to compile again."""


class Backend(StrEnum):
    HTP = "HTP"
    CPU = "CPU"


def init(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A Hugging Face folder, a GGUF file, or a Hugging Face id.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The recipe to write; MODEL.yaml if left out.")
    ] = None,
    soc: Annotated[str, typer.Option(metavar="CHIP", help="The chip to compile for.")] = "SM8650",
    backend: Annotated[
        Backend, typer.Option(help="HTP: for the NPU. CPU: quantized ONNX that runs anywhere.")
    ] = Backend.HTP,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a commented recipe for a model.

    Reads the model's header only, and chooses the number of parts by its size.

    \b
    Examples:
      qairt init models/SmolLM2-135M-Instruct.Q4_1.gguf
      qairt init Qwen/Qwen3-0.6B --soc SM8750 -o qwen3.yaml
    """
    from qairt.model.describe import describe_model
    from qairt.toolchain.soc import parse_soc, require_weight_sharing

    chip = parse_soc(f"chipset:{soc}")
    if backend is Backend.HTP:
        require_weight_sharing(chip)
    description = describe_model(model)
    path = output or Path(f"{_name(model)}.yaml")
    if path.suffix not in (".yaml", ".yml"):
        raise RecipeError(
            f"{path.suffix or 'no ending'} is not a recipe's ending", where=str(path), remedy="end it in .yaml"
        )
    if path.exists() and not force:
        raise QairtError("it exists already", where=str(path), remedy="give another name with -o, or --force")
    from qairt.files import write_atomic

    text = recipe_text(_relative_to(path.parent, model), description, soc=chip.name, backend=backend.value)
    write_atomic(path, text)
    config = description.config
    say(
        f"{path}: {config.family}, {config.num_layers} layers, {description.parameter_count / 1e6:,.0f} M parameters,"
        f" {size(description.parameter_bytes)} in float32"
    )
    say(f"Next: qairt plan {path}, then qairt run {path}")


def _relative_to(folder: Path, model: str) -> str:
    """A model's path as a recipe in `folder` must name it; ids and absolute paths as they are."""
    path = Path(model)
    return os.path.relpath(path, folder) if path.exists() and not path.is_absolute() else model


def splits_for(description: ModelDescription) -> int:
    """Parts of about a gigabyte quantized; the embedding is one of them, and a part holds at least a layer."""
    quantized = description.parameter_bytes / 4
    return min(1 + max(3, round(quantized / _PART_BYTES)), 1 + description.config.num_layers)


def recipe_text(model: str, description: ModelDescription, *, soc: str, backend: str) -> str:
    """The recipe as text, with its comments."""
    import yaml

    named = yaml.safe_dump(model, default_flow_style=True).splitlines()[0]
    config = description.config
    widths = (config.hidden_size, config.intermediate_size, config.num_heads * config.head_dim)
    technique = "minmax.yaml" if any(width % 64 for width in widths) else "lpbq_seqmse.yaml"
    context = _context(config)
    prompt = 128 if context > 128 else context // 2
    npu = backend == "HTP"
    settings = [
        (f"model_id_or_path: {named}", ""),
        (f"backend: {backend}", "HTP: for the NPU; CPU: quantized ONNX that runs anywhere"),
        (f'soc_details: "chipset:{soc}"', "the chip; `qairt check` says what it cannot do"),
        ("", ""),
        ("stages:", ""),
        ("  model_loading: {}", ""),
        ("  quantization:", ""),
        (f"    recipe: {technique}", "4-bit: lpbq_seqmse.yaml, lpbq.yaml (faster); 8-bit: minmax.yaml"),
        ("    # calibration_text: my.txt", "text like what the model will read; qairt ships one"),
        ("    # calibration_chunks: 16", "more is slower and a little better"),
        ("  export: {}", ""),
        ("  prepare_exports:", ""),
        (f"    arn: [1, {prompt}]", f"tokens per call: 1 to answer, {prompt} to read the prompt"),
        (f"    context_length: {context}", "tokens of prompt and answer together"),
        ("  split_model:", ""),
        (f"    num_splits: {splits_for(description)}", "parts of the model; the embedding is the first"),
        ("  mha_to_sha_conversion: {}", "one attention head at a time, as the NPU likes it"),
        *([("  convert: {}", "")] if npu else []),
        ("  quantize:", ""),
        ("    act_bitwidth: 16", ""),
        ("    bias_bitwidth: 32", ""),
        *([("  generate_context_binary: {}", "")] if npu else []),
        ("  export_bundle: {}", ""),
    ]
    title = f"# {_name(model)} for a Qualcomm Hexagon NPU. `qairt plan` shows what it does, `qairt run` does it."
    lines = [f"{setting:<35} # {comment}" if comment else setting for setting, comment in settings]
    return "\n".join([title, *lines]) + "\n"


def _context(config: DecoderConfig) -> int:
    """Tokens that fit: what the model was trained for, and no attention window is shorter."""
    return min(2048, config.max_position_embeddings, config.sliding_window or 2048)


def _name(model: str) -> str:
    """`models/Foo.Q4_1.gguf` -> `Foo.Q4_1`, `Qwen/Qwen3-0.6B` -> `Qwen3-0.6B`."""
    return Path(model.rstrip("/")).name.removesuffix(".gguf") or "recipe"
