"""`qairt report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qairt.cli.console import emit, emit_json
from qairt.cli.options import CacheDir, Json, Overrides, Recipe


def report(
    recipe: Recipe,
    overrides: Overrides = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write HTML to FILE.", show_default="report.html in the cache directory"),
    ] = None,
    md: Annotated[Path | None, typer.Option(metavar="FILE", help="Write Markdown to FILE.", show_default=False)] = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Write one page about the latest run.

    The page is a single file that needs no network: what ran and why, when and with how much memory, the size of the
    model, how close it is to the float model (as measured by `qairt verify` and `qairt evaluate`), the files for the
    device, the recipe and the tools. Nothing is run. The report of an active, failed or interrupted run lists what is
    missing.

    \b
    Examples:
      qairt report recipe.yaml
      qairt report recipe.yaml --html report.html --md report.md
    """
    import shlex

    from qairt.amounts import size
    from qairt.cli.find_recipe import open_pipeline
    from qairt.report.gather import gather
    from qairt.report.render import to_html, to_markdown, write
    from qairt.results.estimate import at_most_of

    pipeline = open_pipeline(recipe, overrides, cache_dir)
    arguments = shlex.join([recipe, *(overrides or ())])
    found = gather(pipeline.cache, arguments, dict(pipeline.recipe), at_most=at_most_of(pipeline))
    pages = []
    if md is not None:
        pages.append((md, to_markdown(found)))
    if html is not None or md is None:
        pages.append((html or pipeline.cache_dir / "report.html", to_html(found)))
    for path, text in pages:
        write(path, text)
    if as_json:
        files = [str(path.absolute()) for path, _ in pages]
        emit_json({"run": found.run.id, "state": found.run.state, "files": files, "missing": list(found.missing)})
        return
    for line in found.missing:
        emit(line)
    for path, text in pages:
        emit(f"{path}: run {found.run.id}, {size(len(text.encode()))}")
