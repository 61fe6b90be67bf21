"""`qairt init`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qairt.amounts import size
from qairt.cli.console import emit
from qairt.errors import QairtError, QuantizationError, RecipeError, unwritable

if TYPE_CHECKING:
    from qairt.model.config import DecoderConfig
    from qairt.model.describe import ModelDescription

_PART_BYTES = 1_000_000_000
"""Target size of a quantized part: well below every limit, and quick to recompile."""


BackendName = Literal["HTP", "CPU"]


def init(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A Hugging Face folder, a GGUF file, or a Hugging Face id. Left out: the only model in this folder or"
            " in models/.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The recipe to write.", show_default="MODEL.yaml"),
    ] = None,
    soc: Annotated[str, typer.Option(metavar="CHIP", help="The chip to compile for.")] = "SM8650",
    backend: Annotated[
        BackendName, typer.Option(help="HTP: for the NPU. CPU: quantized ONNX that runs anywhere.")
    ] = "HTP",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented recipe for a model.

    Reads only the model's header; the number of parts depends on its size.

    \b
    Examples:
      qairt init models/SmolLM2-135M-Instruct.Q4_1.gguf
      qairt init Qwen/Qwen3-0.6B --soc SM8750 -o qwen3.yaml
    """
    from qairt.model.describe import describe_model
    from qairt.toolchain.soc import parse_soc, require_weight_sharing

    chip = parse_soc(f"chipset:{soc}")
    if backend == "HTP":
        require_weight_sharing(chip)
    model = model or _only_model_here()
    description = describe_model(model)
    path = output or Path(f"{_name(model)}.yaml")
    if path.suffix not in (".yaml", ".yml"):
        raise RecipeError("a recipe is a .yaml file", where=str(path), remedy="give a name that ends in .yaml")
    if path.exists() and not force:
        raise QairtError("the file exists", where=str(path), remedy="give another name with -o, or --force")
    from qairt.files import write_atomic

    text = recipe_text(_relative_to(path.parent, model), description, soc=chip.name, backend=backend)
    try:
        write_atomic(path, text)
    except OSError as error:
        raise unwritable(error, "the recipe", path, instead="give another path with -o") from error
    config = description.config
    emit(
        f"{path}: {config.family}, {config.num_layers} layers, {description.parameter_count / 1e6:,.0f} M parameters,"
        f" {size(description.parameter_bytes)} in float32"
    )
    emit(f"Next: {shlex.join(['qairt', 'run', str(path)])}")


def _relative_to(folder: Path, model: str) -> str:
    """A model's path as a recipe in `folder` must name it, whatever the working directory: relative if the model lies
    below that folder, so that both can be moved together, else absolute. Ids as they are."""
    path = Path(os.path.expanduser(model))
    if not path.exists():
        return model
    place, home = path.absolute(), folder.absolute()
    return str(place.relative_to(home)) if place.is_relative_to(home) else os.path.normpath(place)


def _only_model_here() -> str:
    """The model in the working directory or in `models/`.

    Raises:
        RecipeError: there is none, or several; names them.
    """
    found = [
        path
        for folder in (Path(), Path("models"))
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix == ".gguf" or (path / "config.json").is_file()
    ]
    if len(found) == 1:
        return str(found[0])
    if not found:
        raise RecipeError(
            "no model was given, and there is none in this folder or in models/",
            remedy="give a Hugging Face folder, a GGUF file, or an id such as Qwen/Qwen3-0.6B",
        )
    raise RecipeError(
        "no model was given, and there are several here", remedy=f"give one of {', '.join(map(str, found))}"
    )


def splits_for(description: ModelDescription) -> int:
    """Parts of about a gigabyte when quantized; the embedding is one, and each other part has at least one layer."""
    quantized = description.parameter_bytes / 4
    return min(1 + max(3, round(quantized / _PART_BYTES)), 1 + description.config.num_layers)


def recipe_text(model: str, description: ModelDescription, *, soc: str, backend: str) -> str:
    """The recipe as text, with comments."""
    import yaml

    named = yaml.safe_dump(model, default_flow_style=True).splitlines()[0]
    config = description.config
    technique = _technique(config)
    context = _context(config)
    prompt = 128 if context > 128 else context // 2
    npu = backend == "HTP"
    settings = [
        (f"model_id_or_path: {named}", ""),
        (f"backend: {backend}", "HTP: for the NPU; CPU: quantized ONNX that runs anywhere"),
        (f'soc_details: "chipset:{soc}"', "the chip; `qairt check` lists its limits"),
        ("", ""),
        ("stages:", ""),
        ("  model_loading: {}", ""),
        ("  quantization:", ""),
        (f"    recipe: {technique}", "4-bit: fast.yaml, balanced.yaml, best.yaml (slow); 8-bit: minmax.yaml"),
        ("    # calibration_text: my.txt", "text like the model's input; qairt comes with one"),
        ("    # calibration_chunks: 16", "more is slower and slightly better"),
        ("  export: {}", ""),
        ("  prepare_exports:", ""),
        (f"    arn: [1, {prompt}]", f"tokens per call: 1 to generate, {prompt} to read the prompt"),
        (f"    context_length: {context}", f"tokens of prompt and answer together{_limit(config, context)}"),
        ("  split_model:", ""),
        (f"    num_splits: {splits_for(description)}", "parts of the model; the embedding is the first"),
        ("  mha_to_sha_conversion: {}", "one attention head at a time, which suits the NPU"),
        *([("  convert: {}", "")] if npu else []),
        ("  quantize:", ""),
        ("    act_bitwidth: 16", ""),
        ("    bias_bitwidth: 32", ""),
        *([("  generate_context_binary: {}", "")] if npu else []),
        (_bundle(config, context, npu=npu), ""),
    ]
    title = f"# {_name(model)} for a Qualcomm Hexagon NPU. `qairt plan` shows the steps, `qairt run` runs them."
    lines = [f"{setting:<35} # {comment}" if comment else setting for setting, comment in settings]
    return "\n".join([title, *lines]) + "\n"


def _bundle(config: DecoderConfig, context: int, *, npu: bool) -> str:
    """The stage `export_bundle`, or why the recipe has none."""
    from qairt.bundle.compose import require_runnable

    try:
        if config.pooling is None:
            require_runnable(config, "genie" if npu else "ort", context_size=context)
    except QairtError as error:
        return f"# No export_bundle: {error.what}."
    return "  export_bundle: {}"


def _technique(config: DecoderConfig) -> str:
    """The default, or 8 bits for a model that its blocks do not fit."""
    from qairt.recipe.files import shipped_recipes
    from qairt.stages.technique_file import load_technique

    default = "balanced.yaml"
    try:
        load_technique(shipped_recipes() / "quantization" / default).check(config)
    except QuantizationError:
        return "minmax.yaml"
    return default


def _context(config: DecoderConfig) -> int:
    """At most what the model was trained for, and the attention window of a model that a bundle can hold."""
    window = None if config.local_rotary is not None else config.sliding_window
    return min(2048, config.max_position_embeddings, window or 2048)


def _limit(config: DecoderConfig, context: int) -> str:
    """Why the context is short."""
    windowed = config.local_rotary is None and context == config.sliding_window
    return "; in a bundle, at most the attention window" if windowed else ""


def _name(model: str) -> str:
    """`models/Foo.Q4_1.gguf` -> `Foo.Q4_1`, `Qwen/Qwen3-0.6B` -> `Qwen3-0.6B`."""
    return Path(model.rstrip("/")).name.removesuffix(".gguf") or "recipe"
