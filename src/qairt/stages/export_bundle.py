"""Stage 10: one folder that a device runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

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
from qairt.files import files_below, link_or_copy, replace_folder
from qairt.stages.facts import model_of, settings_of, soc_of
from qairt.stages.prepare_exports import prepare_config
from qairt.stages.split_model import part_at

if TYPE_CHECKING:
    from qairt.bundle.contents import BinaryPart, Contents, Format, OnnxPart


class ExportBundleConfig(StageConfig):
    """What runs the bundle."""

    format: Literal["genie", "ort"] | None = None
    """genie: for Genie of the QAIRT SDK, on Android and Linux. ort: for onnxruntime-genai with public packages, on
    Windows, Linux and Android; with backend CPU anywhere. Left out: genie, or with backend CPU ort. The other one is
    always to be had too, without running anything again: `qairt export RECIPE DIR --format ort`."""


class ExportBundleInput(StageInput):
    binary: Path | None = None
    wrappers: dict[str, Path] | None = None
    signatures: dict[str, Path] | None = None
    quantized_onnx: Path | None = None
    quantized_weights: Path | None = None
    signature: Path | None = None
    model: Path | None = None
    tokenizer: Path | None = None


class Bundle(StageOutput):
    bundle: Annotated[Path, Artifact("bundle")]
    """The folder."""
    metadata: Path


@register_stage
class ExportBundle(Stage[ExportBundleConfig, ExportBundleInput, Bundle]):
    """Put binaries in order, the runtime's configuration, the tokenizer and a description of every tensor together.

    1. The configuration is computed from the model; a fact that is missing is an error, before anything runs.
    2. `metadata.yaml` names every input and output with shape, dtype, scale, offset, AR, CL and part.
    3. `SHA256SUMS` covers every file.

    Somebody else's graph, of whose model nothing is known, becomes a bundle without a runtime's configuration.
    """

    name = "export_bundle"
    version = 3
    merges = ("cl", "ar", "split")
    requires = ("quantize",)

    def check(self, env: Env) -> None:
        require_possible(env, self.config.format)

    def expand(self, batch: Batch, env: Env) -> Expansion:
        together: dict[Coord, list[Coord]] = {}
        for coord in batch:
            together.setdefault(without(coord, self.merges), []).append(coord)
        params: dict[str, Any] = {"soc": None, "format": format_for(env, self.config.format)}
        if settings_of(env).backend == "HTP":
            params["soc"] = soc_of(env).name
        return Expansion(
            [
                Task(
                    coord=coord,
                    sources=tuple(sources),
                    params=params,
                    estimate=Estimate(
                        bytes=sum(part_at(source, env).weight_bytes for source in sources) // 4,
                        seconds=2,
                        peak_ram=200_000_000,
                    ),
                )
                for coord, sources in together.items()
            ]
        )

    def run(self, task: Task, context: Context[ExportBundleConfig, ExportBundleInput]) -> Bundle:
        from qairt.bundle.compose import compose

        folder = context.directory / "bundle"
        folder.mkdir()
        contents = contents_of(context.inputs, task)
        form = cast("Format | None", task.params["format"])
        if form == "ort" and context.config.format is None and not contents.suit_genai():
            form = None
        metadata = compose(contents, folder, form, place=link_or_copy)
        return Bundle(bundle=folder, metadata=metadata)

    def write_visualization(self, items: Batch, place: OutputContext) -> None:
        from qairt.stages.pictures.graphs import draw_sizes

        (item,) = items.values()
        assert isinstance(item.output, Bundle)
        folder = item.output.bundle
        files = {path.relative_to(folder).as_posix(): [path] for path in files_below(folder)}
        draw_sizes("What goes to the device", files, place.directory / "bundle_files.svg")

    def publish(self, items: Batch, directory: Path) -> None:
        """The bundle under its plain name, `<cache_dir>/export_bundle`; replaced as a whole.

        Large files are read-only links into the cache. Small ones, which a user may well edit, are copies.
        """
        (item,) = items.values()
        assert isinstance(item.output, Bundle)
        source = item.output.bundle
        replace_folder(directory, source, files_below(source), told_by=Path("SHA256SUMS"))


def format_for(env: Env, asked: Format | None) -> Format | None:
    """The format of a recipe's bundle.

    Args:
        asked: by the recipe; None for the backend's own. With backend CPU that is `ort`, and the parts alone where
            onnxruntime-genai cannot run them.
    """
    if asked is not None:
        return asked
    settings = settings_of(env)
    if settings.model_id_or_path is None:
        return None
    return "genie" if settings.backend == "HTP" else "ort"


def require_possible(env: Env, asked: Format | None) -> None:
    """Everything about a format that is known before a run.

    Raises:
        RecipeError: it does not suit the recipe.
        ModelError: the model lacks a fact, or the runtime has no words for it.
    """
    from qairt.bundle.compose import require_format
    from qairt.bundle.genai_config import require_ars
    from qairt.bundle.genie_config import genie_config

    form, settings = format_for(env, asked), settings_of(env)
    if form is None:
        return
    require_format(form, has_binaries=settings.backend == "HTP", has_model=settings.model_id_or_path is not None)
    if form == "ort":
        if asked is not None:
            require_ars(prepare_config(env).arn, max(prepare_config(env).context_length))
        return
    longest = max(prepare_config(env).context_length)
    genie_config(model_of(env).config, context_size=longest, binaries=["part"], tokenizer="tokenizer.json")


def contents_of(inputs: Mapping[Coord, ExportBundleInput], task: Task) -> Contents:
    """What the outputs of the stages before make a bundle of; parts in order.

    Args:
        inputs: of every part, or of every part and length.
        task: names the chip.
    """
    from qairt.bundle.contents import Contents
    from qairt.toolchain.soc import SOCS

    ordered = [inputs[coord] for coord in sorted(inputs, key=lambda coord: (value_of(coord, "split"), coord))]
    first = ordered[0]
    return Contents(
        parts=_parts(ordered),
        soc=None if task.params["soc"] is None else SOCS[str(task.params["soc"])],
        model=first.model,
        tokenizer=first.tokenizer,
    )


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
