"""Writing a finished run's bundle to a folder, from the files in the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.engine.plan.reads import items_read, read_by
from qairt.engine.stage import StageOutput
from qairt.errors import CacheError
from qairt.files import copy_file, files_below, sha256_of
from qairt.recipe.output_settings import model_name
from qairt.results.new_folder import new_folder, require_new
from qairt.stages.export_bundle import Bundle, ExportBundleInput, contents_of, geniex_id, require_possible

if TYPE_CHECKING:
    from qairt.bundle.contents import Contents, Format
    from qairt.engine.axes import Coord
    from qairt.engine.cache.entry import Entry
    from qairt.engine.plan.planned import PlannedItem
    from qairt.results.finished import FinishedRun


def export(run: FinishedRun, directory: Path, form: Format | None = None) -> list[Path]:
    """Write the bundle to a new folder and compare it with its checksums; returns its files.

    Args:
        form: the recipe's format when None. No stage runs again for the other one.

    Raises:
        RecipeError: the format does not suit the recipe.
        QairtError: the bundle is not finished, `directory` is not empty, or the cache is damaged.
    """
    from qairt.bundle.metadata import read_metadata

    require_new(directory)
    stages = {planned.stage.name for planned in run.plan.stages}
    if "export_bundle" not in stages and {"model_loading", "prepare_exports"} <= stages:
        require_possible(run.env, form)  # where there can be no bundle, adding the stage is no remedy
    (item,) = run.items("export_bundle")
    output = run.output(item, Bundle)
    metadata = read_metadata(output.bundle)
    whole = form is None or (metadata is not None and metadata.format == form)
    if form is not None and not whole:
        require_possible(run.env, form)
    inputs, entries = ({}, [_entry_of(item)]) if whole else bundle_inputs(run, item)
    recorded = {path: digest for entry in entries for path, digest in entry.paths().items()}
    try:
        if form is None or whole:
            return copy_bundle(output.bundle, directory, recorded)
        contents = contents_of(inputs, item.task)
        if form == "geniex":
            contents = replace(contents, geniex_id=geniex_id(run.env))
        return compose_bundle(contents, directory, form, recorded)
    except CacheError as error:
        run.cache.retire_if_damaged(entries, Path(error.where or ""))
        raise


def export_package(run: FinishedRun, directory: Path) -> list[Path]:
    """Write the bundle for onnxruntime-genai as a model package to a new folder; returns its files.

    Raises:
        RecipeError, QairtError: as `export`.
    """
    from qairt.bundle.model_package import variant_folder, write_package_files

    on_npu = run.settings.backend == "HTP"
    with new_folder(directory) as work:
        export(run, variant_folder(work, on_npu=on_npu), "ort")
        write_package_files(work, model_name(run.settings.model_id_or_path), on_npu=on_npu)
    return files_below(directory.absolute())


def copy_bundle(source: Path, directory: Path, recorded: Mapping[Path, str]) -> list[Path]:
    """Copy a bundle and compare the copies with what was stored; `directory` appears whole or not at all.

    Args:
        recorded: SHA-256 of every file, as recorded when it was built. Other files are not the bundle's.

    Raises:
        CacheError: a file differs from its digest; names it.
        QairtError: `directory` is not empty or cannot be written.
    """
    with new_folder(directory) as work:
        for path, digest in recorded.items():
            if not path.is_relative_to(source):
                continue
            target = work / path.relative_to(source)
            copy_file(path, target)
            if sha256_of(target) != digest:
                raise CacheError(
                    "its content is not what was stored, so nothing was exported",
                    where=str(path),
                    remedy="`qairt run` sets it aside and rebuilds it",
                )
    return files_below(directory.absolute())


def compose_bundle(contents: Contents, directory: Path, form: Format, recorded: Mapping[Path, str]) -> list[Path]:
    """Compose a bundle from stage outputs; `directory` appears whole or not at all.

    Args:
        recorded: SHA-256 of every file of the contents, as recorded when it was built.

    Raises:
        CacheError: a file differs from its digest; names it.
        QairtError: `directory` is not empty or cannot be written, or the format is impossible.
    """
    from qairt.bundle.compose import compose

    with new_folder(directory) as work:
        compose(contents, work, form, place=copy_file, recorded=recorded)
    return files_below(directory.absolute())


def bundle_inputs(run: FinishedRun, item: PlannedItem) -> tuple[dict[Coord, ExportBundleInput], list[Entry]]:
    """The inputs of an item of `export_bundle` by coordinate, and the entries that hold their files."""
    run.make_whole(items_read(item))
    inputs: dict[Coord, ExportBundleInput] = {}
    entries: dict[str, Entry] = {}
    for source in item.sources:
        fields: dict[str, object] = {}
        for read, names in read_by(item.stage, source):
            output = run.output(read, StageOutput)
            entries[read.key] = _entry_of(read)
            fields |= {name: getattr(output, name) for name in names}
        inputs[source.coord] = ExportBundleInput.model_validate(fields)
    return inputs, list(entries.values())


def _entry_of(item: PlannedItem) -> Entry:
    assert item.entry is not None  # `FinishedRun.items` has checked it
    return item.entry
