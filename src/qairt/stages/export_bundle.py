"""Stage 10: the bundle, one folder with everything a device needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, cast

from pydantic import JsonValue

from qairt.engine.axes import Coord, value_of, without
from qairt.engine.stage import (
    Artifact,
    Batch,
    Context,
    Env,
    Estimate,
    Expansion,
    OutputContext,
    Stage,
    StageConfig,
    StageInput,
    StageOutput,
    Task,
    register_stage,
)
from qairt.errors import RecipeError
from qairt.files import copy_small_link_large, files_below, link_or_copy
from qairt.stages.concurrencies import concurrencies_of
from qairt.stages.facets import CHAT_TEMPLATE, GENERATION, GRAPH, TOKENIZER
from qairt.stages.facts import has_model, model_of, settings_of, soc_of
from qairt.stages.lora_adapters import is_graph
from qairt.stages.prepare_exports import is_embedding, prepare_config
from qairt.stages.split_model import part_at

if TYPE_CHECKING:
    from qairt.bundle.contents import Adapters, BinaryPart, Contents, Format, OnnxPart


class ExportBundleConfig(StageConfig):
    """Which runtime the bundle is for."""

    format: Literal["genie", "geniex", "ort"] | None = None
    """genie: Genie of the QAIRT SDK, on Android and Linux. geniex: also Qualcomm's GenieX, which imports the bundle as
    a local model; for Llama, Phi-3, Qwen2 and Qwen3. ort: onnxruntime-genai from public packages, on Windows, Linux
    and Android; with backend CPU, on any machine. Default: genie, or ort with backend CPU. The other formats can
    be exported at any time without a new run: `qairt export RECIPE DIR --format ort`."""


class ExportBundleInput(StageInput):
    binary: Path | None = None
    wrappers: dict[str, Path] | None = None
    signatures: dict[str, Path] | None = None
    quantized_onnx: Path | None = None
    quantized_weights: Path | None = None
    signature: Path | None = None
    model: Path | None = None
    tokenizer: Path | None = None
    concurrency: str | None = None
    values: Path | None = None
    strengths: dict[str, float] | None = None


class Bundle(StageOutput):
    bundle: Annotated[Path, Artifact("bundle")]
    """The folder."""
    metadata: Path


@register_stage
class ExportBundle(Stage[ExportBundleConfig, ExportBundleInput, Bundle]):
    """Collect the binaries in order, the runtime configuration, the tokenizer and a description of every tensor.

    1. The configuration is computed from the model; missing information is an error before anything runs.
    2. `metadata.yaml` lists every input and output with shape, dtype, scale, offset, AR, CL and part.
    3. `SHA256SUMS` covers every file.
    4. With LoRA, it holds the values of the base and of every concurrency, for the runtime to switch between.

    The bundle of an external ONNX graph has no runtime configuration, as nothing is known about its model.
    """

    name = "export_bundle"
    read_instead: ClassVar[Mapping[str, frozenset[str]]] = {
        "binary": frozenset({"quantized_onnx", "quantized_weights", "signature"})
    }
    version = 4
    merges = ("cl", "ar", "split", "concurrency")
    requires = ("quantize",)

    def check(self, env: Env) -> None:
        require_possible(env, self.config.format)

    def expand(self, batch: Batch, env: Env) -> Expansion:
        together: dict[Coord, list[Coord]] = {}
        for coord in batch:
            together.setdefault(without(coord, self.merges), []).append(coord)
        soc = soc_of(env).name if settings_of(env).backend == "HTP" else None
        params: dict[str, JsonValue] = {"soc": soc, "format": format_for(env, self.config.format)}
        if params["format"] == "geniex":
            params["geniex_id"] = geniex_id(env)
        storage = model_of(env).storage if has_model(env) else None
        if storage is not None:
            params["already_quantized"] = str(storage)
        return Expansion(
            [
                Task(
                    coord=coord,
                    sources=tuple(sources),
                    params=params,
                    estimate=Estimate(
                        bytes=sum(part_at(source, env).weight_bytes for source in sources if is_graph(source)) // 4,
                        seconds=2,
                        peak_ram=200_000_000,
                    ),
                )
                for coord, sources in together.items()
            ]
        )

    def facets_read(self) -> Collection[str]:
        return (GRAPH, TOKENIZER, CHAT_TEMPLATE, GENERATION)

    def run(self, task: Task, context: Context[ExportBundleConfig, ExportBundleInput]) -> Bundle:
        from qairt.bundle.compose import compose, require_stored

        folder = context.directory / "bundle"
        folder.mkdir()
        contents = contents_of(context.inputs, task)
        require_stored(contents.description_files(), context.digests)
        form = cast("Format | None", task.params["format"])
        if form == "ort" and context.config.format is None and not contents.suit_genai():
            form = None
        metadata = compose(contents, folder, form, place=link_or_copy, recorded=context.digests)
        return Bundle(bundle=folder, metadata=metadata)

    def write_visualization(self, items: Batch, context: OutputContext) -> None:
        from qairt.stages.pictures.graphs import draw_sizes

        (item,) = items.values()
        assert isinstance(item.output, Bundle)
        folder = item.output.bundle
        files = {path.relative_to(folder).as_posix(): [path] for path in files_below(folder)}
        draw_sizes("Files of the bundle", files, context.directory / "bundle_files.svg")

    def publish(self, items: Batch, directory: Path) -> None:
        """The bundle under its plain name. Large files are read-only links into the cache; small ones, which a user may
        well edit, are copies."""
        (item,) = items.values()
        assert isinstance(item.output, Bundle)
        source = item.output.bundle
        copy_small_link_large(source, files_below(source), directory)


def format_for(env: Env, requested: Format | None) -> Format | None:
    """The format of the recipe's bundle; None for one without a runtime configuration.

    Args:
        requested: by the recipe; None for the backend's default.
    """
    if requested is not None:
        return requested
    settings = settings_of(env)
    if settings.model_id_or_path is None:
        return None
    if settings.backend == "HTP":
        return "genie"
    return None if is_embedding(env) else "ort"


def require_possible(env: Env, requested: Format | None) -> None:
    """Check everything about a format that is known before a run.

    Raises:
        RecipeError: the recipe cannot produce this format.
        ModelError: the model lacks information that the runtime needs, or the runtime does not support it.
    """
    from qairt.bundle.compose import require_format, require_runnable
    from qairt.bundle.genai_config import require_ars

    form, settings = format_for(env, requested), settings_of(env)
    if form is None:
        return
    require_format(form, has_binaries=settings.backend == "HTP", has_model=settings.model_id_or_path is not None)
    longest = max(prepare_config(env).context_length)
    if is_embedding(env):
        _require_embedding(env, form)
        return
    if form == "ort" and requested is not None:
        require_ars(prepare_config(env).arn, longest)
    require_runnable(model_of(env).config, form, context_size=longest)
    if form == "geniex":
        from qairt.bundle.geniex import require_geniex

        prepared = prepare_config(env)
        require_geniex(
            model_of(env).config,
            ars=prepared.arn,
            context_sizes=prepared.context_length,
            has_adapters=concurrencies_of(env) is not None,
        )


def _require_embedding(env: Env, form: Format) -> None:
    """
    Raises:
        RecipeError: an embedding model in a format whose runtime generates text, or with several graphs of a part.
    """
    if form != "genie":
        runtime = "GenieX" if form == "geniex" else "onnxruntime-genai"
        raise RecipeError(
            f"{runtime} generates text, and an embedding model makes vectors",
            where="stages.export_bundle.format",
            remedy="remove format: with backend HTP the bundle is for Genie, with CPU it holds the parts",
        )
    lengths = prepare_config(env).context_length
    if len(lengths) > 1:
        raise RecipeError(
            f"Genie reads a text to embed with one graph, and context_length lists {', '.join(map(str, lengths))}",
            where="stages.prepare_exports.context_length",
            remedy="use one length, that of the longest text",
        )


def geniex_id(env: Env) -> str:
    """The model's id in a bundle for GenieX."""
    from qairt.bundle.geniex import model_id
    from qairt.recipe.output_settings import model_name

    return model_id(model_of(env).config.family, model_name(settings_of(env).model_id_or_path))


def contents_of(inputs: Mapping[Coord, ExportBundleInput], task: Task) -> Contents:
    """The contents of a bundle, parts in order.

    Args:
        inputs: one for each part, or for each part and AR (and CL).
        task: gives the SoC.
    """
    from qairt.bundle.contents import Contents
    from qairt.toolchain.soc import SOCS

    graphs = [coord for coord in inputs if is_graph(coord)]
    ordered = [inputs[coord] for coord in sorted(graphs, key=lambda coord: (value_of(coord, "split"), coord))]
    first = ordered[0]
    return Contents(
        parts=_parts(ordered),
        soc=None if task.params["soc"] is None else SOCS[str(task.params["soc"])],
        model=first.model,
        tokenizer=first.tokenizer,
        already_quantized=cast("str | None", task.params.get("already_quantized")),
        geniex_id=str(task.params.get("geniex_id", "")),
        adapters=_adapters(inputs),
    )


def _adapters(inputs: Mapping[Coord, ExportBundleInput]) -> Adapters | None:
    from qairt.bundle.contents import Adapters, ConcurrencyValues

    ordered = [inputs[coord] for coord in sorted(inputs) if not is_graph(coord)]
    found = [
        ConcurrencyValues(str(each.concurrency), each.values, each.strengths or {})
        for each in ordered
        if each.values is not None
    ]
    return Adapters(found) if found else None


def _parts(sources: Iterable[ExportBundleInput]) -> list[BinaryPart] | list[OnnxPart]:
    from qairt.bundle.contents import BinaryPart, OnnxPart

    binaries, graphs = [], []
    for source in sources:
        if source.binary is not None:
            binaries.append(BinaryPart(source.binary, source.wrappers or {}, source.signatures or {}))
            continue
        assert source.quantized_onnx is not None
        assert source.quantized_weights is not None
        assert source.signature is not None
        graphs.append(OnnxPart(source.quantized_onnx, source.quantized_weights, source.signature))
    return binaries or graphs
