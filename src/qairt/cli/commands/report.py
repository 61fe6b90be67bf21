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
    device, the recipe and the tools. Nothing is run; pictures that no run has drawn yet are drawn now and linked. The
    report of an active, failed or interrupted run lists what is missing.

    \b
    Examples:
      qairt report recipe.yaml
      qairt report recipe.yaml --html report.html --md report.md
    """
    import shlex
    from functools import cache, partial

    from qairt.amounts import size
    from qairt.cli.find_recipe import open_pipeline
    from qairt.report.gather import gather
    from qairt.report.render import to_html, to_markdown, write
    from qairt.results.estimate import at_most_of
    from qairt.results.pictures import draw_pictures

    pipeline = open_pipeline(recipe, overrides, cache_dir)
    place = ["--cache-dir", str(cache_dir)] if cache_dir is not None else []
    arguments = shlex.join([recipe, *(overrides or ()), *place])
    planned = cache(pipeline.plan_finished)
    draw = partial(draw_pictures, pipeline, plan_finished=planned)
    chip = at_most_of(pipeline, plan_finished=planned)
    found = gather(pipeline.cache, arguments, dict(pipeline.recipe), at_most=chip, draw=draw)
    pages = []
    if md is not None:
        pages.append((md, to_markdown(found)))
    if html is not None or md is None:
        page = html or pipeline.cache_dir / "report.html"
        pages.append((page, to_html(found, page.absolute().parent)))
    for path, text in pages:
        write(path, text)
    if as_json:
        files = [str(path.absolute()) for path, _ in pages]
        facts = {"run": found.run.id, "state": found.run.state, "files": files}
        emit_json({**facts, "missing": list(found.missing), "drawn": list(found.drawn)})
        return
    for line in found.missing:
        emit(line)
    if found.drawn:
        emit(f"Pictures drawn: {', '.join(found.drawn)}")
    for path, text in pages:
        emit(f"{path}: run {found.run.id}, {size(len(text.encode()))}")
