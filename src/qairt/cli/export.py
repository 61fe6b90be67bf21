"""`qairt export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.cli.amounts import count, size
from qairt.cli.console import say, say_json
from qairt.cli.options import CacheDir, Json, Recipe
from qairt.errors import QairtError

if TYPE_CHECKING:
    from qairt.engine.pipeline import Pipeline

STAGE = "export_bundle"
SUMS = "SHA256SUMS"


def export(
    recipe: Recipe,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write; must be new or empty.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="The overrides of the run, if it had any.", show_default=False),
    ] = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Copy the finished bundle to a folder.

    It is everything a device needs. The copy shares nothing with the cache, and is
    compared with its checksums (SHA256SUMS).

    \b
    Example:
      qairt export recipe.yaml bundle/ && adb push bundle /data/local/tmp/
    """
    from qairt.cli.recipe_argument import open_pipeline

    source = finished_bundle(open_pipeline(recipe, overrides, cache_dir), recipe)
    files = copy_bundle(source, directory)
    total = sum(path.stat().st_size for path in files)
    if as_json:
        say_json({"directory": str(directory.absolute()), "files": [str(path) for path in files], "bytes": total})
        return
    say(f"{directory}: {count(len(files), 'file')}, {size(total)}")


def finished_bundle(pipeline: Pipeline, recipe: str) -> Path:
    """The folder that `export_bundle` made with these settings.

    Raises:
        QairtError: it is not finished; says how to make it.
    """
    if STAGE not in pipeline.stage_names():
        raise QairtError(
            f"the recipe has no stage {STAGE}", where=recipe, remedy=f"add `{STAGE}: {{}}` below its stages and run it"
        )
    made = pipeline.plan()
    planned = next(stage for stage in made.stages if stage.stage.name == STAGE)
    (item,) = planned.items
    output = pipeline.cache.get(item.key, type(item.stage)) if item.entry else None
    if output is None:
        waiting = count(len(made.to_run()), "item")
        raise QairtError(
            f"the bundle is not finished: {waiting} to run", where=recipe, remedy=f"run `qairt run {recipe}` first"
        )
    bundle: Path = output.bundle  # type: ignore[attr-defined]
    return bundle


def copy_bundle(source: Path, directory: Path) -> list[Path]:
    """Copy files and compare them with their checksums; `directory` appears whole or not at all.

    Raises:
        QairtError: `directory` holds something, or the copy is not what was made.
    """
    import shutil
    import tempfile

    from qairt.engine.files import files_below

    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise QairtError("it exists and is not empty", where=str(directory), remedy="give a new folder")
    directory = directory.absolute()
    directory.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}-"))
    try:
        for path in files_below(source):
            target = work / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        _require_sums(work)
        work.chmod(0o755)
        if directory.exists():
            directory.rmdir()
        work.rename(directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return files_below(directory)


def _require_sums(folder: Path) -> None:
    from qairt.engine.files import sha256_of

    for line in (folder / SUMS).read_text().splitlines():
        digest, name = line.split("  ", 1)
        if sha256_of(folder / name) != digest:
            raise QairtError(
                f"{name} is not what was made: the cache is damaged",
                where=SUMS,
                remedy="run `qairt cache verify`, then `qairt run` to make it again",
            )
