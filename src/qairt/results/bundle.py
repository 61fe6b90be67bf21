"""Writing a finished run's bundle to a folder, from the files in the cache."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.bundle.checksums import NAME as SUMS
from qairt.bundle.checksums import read_checksums
from qairt.engine.stage import StageOutput
from qairt.errors import QairtError
from qairt.files import files_below, sha256_of
from qairt.results.new_folder import new_folder
from qairt.stages.export_bundle import Bundle, ExportBundleInput, contents_of, require_possible

if TYPE_CHECKING:
    from qairt.bundle.contents import Contents, Format
    from qairt.engine.axes import Coord
    from qairt.engine.plan.planned import PlannedItem
    from qairt.results.finished import FinishedRun

_REBUILD = "run `qairt cache verify`, then `qairt run` to rebuild it"


def export(run: FinishedRun, directory: Path, form: Format | None = None) -> list[Path]:
    """Write the bundle to a new folder and compare it with its checksums; returns its files.

    Args:
        form: the recipe's format when None. No stage runs again for the other one.

    Raises:
        RecipeError: the format does not suit the recipe.
        QairtError: the bundle is not finished, `directory` is not empty, or the cache is damaged.
    """
    from qairt.bundle.metadata import read_metadata

    (item,) = run.items("export_bundle")
    bundle = run.output(item, Bundle).bundle
    metadata = read_metadata(bundle)
    if form is None or (metadata is not None and metadata.format == form):
        return copy_bundle(bundle, directory)
    require_possible(run.env, form)
    inputs, digests = bundle_inputs(run, item)
    return compose_bundle(contents_of(inputs, item.task), directory, form, digests)


def copy_bundle(source: Path, directory: Path) -> list[Path]:
    """Copy files and compare them with their checksums; `directory` appears whole or not at all.

    Raises:
        QairtError: `directory` is not empty, or a file differs from its checksum.
    """
    with new_folder(directory) as work:
        for path in files_below(source):
            target = work / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        for name, digest in read_checksums(work).items():
            if sha256_of(work / name) != digest:
                raise _damaged(name)
    return files_below(directory.absolute())


def compose_bundle(contents: Contents, directory: Path, form: Format, recorded: Mapping[Path, str]) -> list[Path]:
    """Compose a bundle from stage outputs; `directory` appears whole or not at all.

    Args:
        recorded: SHA-256 of every file of the contents, as recorded when it was built.

    Raises:
        QairtError: `directory` is not empty, a file differs from its checksum, or the format is impossible.
    """
    from qairt.bundle.compose import compose

    placed: dict[str, Path] = {}
    with new_folder(directory) as work:

        def place(source: Path, target: Path) -> None:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            placed[target.relative_to(work).as_posix()] = source

        for path in contents.description_files():
            if sha256_of(path) != recorded.get(path):
                raise _damaged(path.name)
        compose(contents, work, form, place=place)
        digests = read_checksums(work)
        for name, source in placed.items():
            if digests[name] != recorded.get(source):
                raise _damaged(name)
    return files_below(directory.absolute())


def bundle_inputs(run: FinishedRun, item: PlannedItem) -> tuple[dict[Coord, ExportBundleInput], dict[Path, str]]:
    """The inputs of an item of `export_bundle` by coordinate, and the recorded digest of every file in them."""
    inputs: dict[Coord, ExportBundleInput] = {}
    digests: dict[Path, str] = {}
    for source in item.sources:
        fields: dict[str, object] = {}
        level = [source]
        while level and len(fields) < len(ExportBundleInput.model_fields):
            for each in level:
                output = run.output(each, StageOutput)
                if each.entry is not None:
                    digests |= {each.entry.directory / name: file["sha256"] for name, file in each.entry.files.items()}
                for name in ExportBundleInput.model_fields:
                    if hasattr(output, name):
                        fields.setdefault(name, getattr(output, name))
            level = [each for above in level for each in above.sources]
        inputs[source.coord] = ExportBundleInput.model_validate(fields)
    return inputs, digests


def _damaged(name: str) -> QairtError:
    return QairtError(f"{name} differs from its recorded checksum: the cache is damaged", where=SUMS, remedy=_REBUILD)
