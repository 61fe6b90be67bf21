"""The commands and their groups."""

from __future__ import annotations

from typing import Annotated

import typer

from qairt.cli.commands import (
    bundle,
    cache,
    check,
    detach,
    doctor,
    evaluate,
    execute,
    export,
    generate,
    history,
    init,
    logs,
    migrate,
    plan,
    recipes,
    report,
    run,
    schema,
    status,
    tui,
    verify,
)
from qairt.version import __version__

_HELP = """Turn a Hugging Face or GGUF language model into what runs on a Qualcomm Hexagon NPU.

One recipe (a YAML file) says which model, which chip and how. `run` makes it, and the next time only what changed.

\b
  qairt init model.gguf             write a recipe for your model
  qairt check recipe.yaml           see what stands in its way on this machine
  qairt plan recipe.yaml            see what a run would do and what it costs
  qairt tui recipe.yaml             see it on a full screen; enter starts it
  qairt run recipe.yaml             do it; after Ctrl-C the next run goes on
  qairt generate recipe.yaml "Hi"   try the quantized model on this machine
  qairt evaluate recipe.yaml        measure what quantization costs
  qairt verify recipe.yaml          see where accuracy goes, stage by stage
  qairt report recipe.yaml          see it all on one page
  qairt export recipe.yaml out/     copy the finished bundle for the device
  qairt execute recipe.yaml "Hi"    run it on a phone or board

Any command takes --debug, which adds the traceback to an error.
"""

app = typer.Typer(
    help=_HELP,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"qairt {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What stands before any command."""


app.command("run")(run.run)
app.command("tui")(tui.tui)
app.command("plan")(plan.plan)
app.command("check")(check.check)
app.command("status")(status.status)
app.command("attach")(detach.attach)
app.command("logs")(logs.logs)
app.command("cancel")(detach.cancel)
app.command("generate")(generate.generate)
app.command("execute")(execute.execute)
app.command("evaluate")(evaluate.evaluate)
app.command("verify")(verify.verify)
app.command("report")(report.report)
app.add_typer(history.app, name="history")
app.command("export")(export.export)
app.add_typer(bundle.app, name="bundle")
app.command("init")(init.init)
app.command("recipes")(recipes.recipes)
app.command("migrate")(migrate.migrate)
app.command("schema")(schema.schema)
app.command("doctor")(doctor.doctor)
app.add_typer(cache.app, name="cache")
