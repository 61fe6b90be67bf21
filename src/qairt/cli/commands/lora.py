"""`qairt lora`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from qairt.cli.console import emit, emit_json, report
from qairt.cli.options import CacheDir, Json, Overrides, Recipe
from qairt.cli.signature import add_command

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.callback()
def _group() -> None:
    """Train a LoRA adapter on the quantized model."""


@dataclass(frozen=True)
class TuneOptions:
    """The text, the new folder, and how long it is trained."""

    data: Annotated[Path, typer.Option(metavar="FILE", help="The UTF-8 text to train on.")]
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The new folder.", show_default="ADAPTER's folder, -tuned")
    ] = None
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Steps, each on two sequences.")] = 60
    length: Annotated[int, typer.Option(metavar="N", min=2, help="Tokens of a sequence.")] = 128
    rate: Annotated[float, typer.Option(metavar="R", help="The learning rate.")] = 5e-4


@add_command(app, "tune")
def tune(
    recipe: Recipe,
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", help="An adapter of the recipe, by its name.")],
    overrides: Overrides = None,
    *,
    options: TuneOptions,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Train an adapter further on quantized weights.

    That wins back most of what the rounding of the weights cost it. Needs a finished stage quantization. Writes an
    ordinary PEFT folder; if the loss on text that was held out does not fall, the values are those it began with. After
    Ctrl-C or a kill the same command resumes.

    \b
    Example:
      qairt lora tune recipe.yaml french --data french.txt
    """
    from qairt.cli.find_recipe import open_pipeline
    from qairt.cli.watch.evaluation import watch
    from qairt.quant.tune.adapter import Training
    from qairt.results.tuned_adapter import tune_adapter

    run = open_pipeline(recipe, overrides, cache_dir).finished()
    stated = run.settings.lora.adapters.get(adapter) if run.settings.lora is not None else None
    folder = options.out or Path(f"{stated.path if stated is not None else adapter}-tuned")
    training = Training(options.steps, options.length, options.rate)
    with watch() as show:
        found = tune_adapter(
            run,
            adapter,
            options.data,
            folder,
            training,
            notify=report,
            progress=lambda share, what: show(what, share),
        )
    if as_json:
        emit_json({"adapter": str(folder), "loss_before": found.before, "loss_after": found.after})
        return
    emit(f"{folder}: {found.before:.4f} nats per token before, {found.after:.4f} after")
