"""`qairt export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qairt.amounts import count, size
from qairt.cli.console import emit, emit_json
from qairt.cli.options import CacheDir, Json, Recipe
from qairt.errors import RecipeError

if TYPE_CHECKING:
    from qairt.llm import LLMPipeline

FormatName = Literal["genie", "geniex", "ort"]
LayoutName = Literal["bundle", "package", "dlc", "workfolder", "lora"]


def export(
    recipe: Recipe,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write; new or empty.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="The overrides of the run, if any.", show_default=False),
    ] = None,
    form: Annotated[
        FormatName | None,
        typer.Option(
            "--format",
            help="genie: for Genie of the QAIRT SDK, on Android and Linux. geniex: also for Qualcomm's GenieX, as a"
            " local model. ort: for onnxruntime-genai, with public packages.",
            show_default="the recipe's, else genie; ort with backend CPU",
        ),
    ] = None,
    layout: Annotated[
        LayoutName,
        typer.Option(
            help="bundle: what a device needs, copied. package: the ort bundle as an ONNX Runtime model package."
            " dlc: the DLC of every part, float and quantized, for programs of the QAIRT SDK."
            " workfolder: every artifact in the folders of the QAIRT notebooks (models_ar_n,"
            " artifacts/serialized_binaries), as links into the cache. lora: for each graph what qairt-lora-importer of"
            " the QAIRT SDK reads, and the commands, where concurrencies have encodings of their own."
        ),
    ] = "bundle",
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Copy the finished bundle to a folder, for any runtime.

    The bundle holds everything a device needs. It shares no files with the cache, and is verified against its
    checksums (SHA256SUMS). No format needs another run. With --layout workfolder, every artifact of the run is
    linked into the folder instead; with --layout lora, the files for the SDK's LoRA importer are written.

    \b
    Examples:
      qairt export recipe.yaml bundle/ && qairt bundle check bundle/
      qairt export recipe.yaml bundle-ort/ --format ort
      qairt export recipe.yaml bundle-geniex/ --format geniex
      qairt export recipe.yaml model.ortpackage --layout package
      qairt export recipe.yaml dlcs/ --layout dlc
      qairt export recipe.yaml work/ --layout workfolder
      qairt export recipe.yaml lora/ --layout lora
    """
    from qairt.cli.find_recipe import open_pipeline

    if form is not None and layout in ("workfolder", "dlc", "lora"):
        raise RecipeError(f"--layout {layout} has no format", where="--format", remedy="leave one of them out")
    if form not in (None, "ort") and layout == "package":
        raise RecipeError("a model package holds the ort bundle", where="--format", remedy="leave --format out")
    pipeline = open_pipeline(recipe, overrides, cache_dir)
    files = _write(pipeline, directory, layout, form)
    total = sum(path.stat().st_size for path in files)
    if as_json:
        emit_json({"directory": str(directory.absolute()), "files": [str(path) for path in files], "bytes": total})
        return
    emit(f"{directory}: {count(len(files), 'file')}, {size(total)}")


def _write(pipeline: LLMPipeline, directory: Path, layout: LayoutName, form: FormatName | None) -> list[Path]:
    match layout:
        case "workfolder":
            return pipeline.export_workfolder(directory)
        case "dlc":
            return pipeline.export_dlcs(directory)
        case "lora":
            return pipeline.export_importer_files(directory)
        case "package":
            return pipeline.export_package(directory)
        case "bundle":
            return pipeline.export(directory, form)
