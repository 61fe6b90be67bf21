"""The commands. Each is a module of `qairt.cli.commands`, imported when it is used."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from qairt.version import __version__

_HELP = """Turn a Hugging Face or GGUF language model into what runs on a Qualcomm Hexagon NPU.

One recipe (a YAML file) names the model, the chip and the steps. `run` builds it; the next run rebuilds only what
changed.

\b
  qairt init model.gguf             write a recipe for your model
  qairt check recipe.yaml           check the recipe and this machine
  qairt plan recipe.yaml            show what a run would do and what it costs
  qairt tui recipe.yaml             the same on a full screen; enter starts it
  qairt run recipe.yaml             run it; after Ctrl-C the next run resumes
  qairt generate recipe.yaml "Hi"   try the quantized model on this machine
  qairt evaluate recipe.yaml        measure the loss from quantization
  qairt verify recipe.yaml          find the stage that loses accuracy
  qairt report recipe.yaml          all results on one page
  qairt export recipe.yaml out/     copy the finished bundle for the device
  qairt execute recipe.yaml "Hi"    run it on a phone or board

RECIPE is the first argument of every command. A run is chosen by --run RUN, such as --run 142; attach, logs and cancel
also accept RUN in place of RECIPE. --debug adds the traceback to an error.
"""

SUMMARIES = {
    "run": "Build what a recipe describes, reusing what is cached.",
    "tui": "Plan, run and watch a recipe on a full screen.",
    "sweep": "Run a recipe with every combination of some values.",
    "plan": "Show what a run would do, and why each item runs.",
    "estimate": "Show the most that each chip could do with the model.",
    "check": "Check a recipe and this machine before a run.",
    "status": "List active runs, and how the latest ones ended.",
    "attach": "Show a run on a full screen, active or finished.",
    "logs": "Print the events of a run, or the log of one of its items.",
    "cancel": "Cancel an active run.",
    "generate": "Answer a prompt with the quantized model.",
    "embed": "Make vectors of texts with the quantized embedding model.",
    "execute": "Answer prompts with the finished model on a phone or board.",
    "evaluate": "Measure how good the model is, quantized or in float.",
    "verify": "Compare each stage's graphs with the float model.",
    "report": "Write one page about the latest run.",
    "export": "Copy the finished bundle to a folder, for any runtime.",
    "init": "Write a commented recipe for a model.",
    "models": "List the families of models that can be built.",
    "recipes": "List the recipes that come with qairt, or print one.",
    "migrate": "Replace a recipe's old keys by the current ones.",
    "schema": "Print the JSON Schema of recipes, for editors.",
    "doctor": "Report what is installed and what is missing.",
    "trust": "Let a recipe run the programs of a QAIRT SDK that it names.",
    "history": "List finished runs, and compare two of them.",
    "lora": "Train a LoRA adapter on the quantized model.",
    "bundle": "Check a bundle before it goes to a device.",
    "cache": "List, verify and clear finished work.",
    "worker": "Build items for runs on other machines.",
}
"""Commands in the order of `qairt --help`; each summary is the first line of the command's own help."""


class CommandGroup(TyperGroup):
    """Knows its commands by name and summary, and imports the one that is called."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The group's options; flags are False by default, since Typer loads pydantic to convert None."""
        params = super().get_params(ctx)
        for option in params:
            if isinstance(option, TyperOption) and option.is_flag and option.default is None:
                option.default = False
        return params

    def resolve_command(
        self, ctx: Any, args: list[str]
    ) -> tuple[str | None, TyperCommand | TyperGroup | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, None if command is None or name is None else load(name), rest


app = typer.Typer(
    cls=CommandGroup,
    help=_HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"qairt {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options common to all commands."""


def command_line() -> CommandGroup:
    """The group of all commands, none of them imported yet."""
    group = get_command(app)
    assert isinstance(group, CommandGroup)
    group.commands = {name: TyperCommand(name, short_help=summary) for name, summary in SUMMARIES.items()}
    return group


def load(name: str) -> TyperCommand | TyperGroup:
    """The command of `qairt.cli.commands.<name>`: its Typer app, or the function of that name."""
    from qairt.cli.signature import flattened

    module = importlib.import_module(f"qairt.cli.commands.{name}")
    group = getattr(module, "app", None)
    if group is None:
        group = typer.Typer(add_completion=False, rich_markup_mode=None)
        group.command(name)(flattened(getattr(module, name)))
    command = get_command(group)
    assert isinstance(command, TyperCommand | TyperGroup)
    command.name = name
    _expand_paths(command)
    return command


def _expand_paths(command: TyperCommand | TyperGroup) -> None:
    """Every path on the command line means what it would mean in a recipe: the shell leaves `--cache-dir=~/c` alone."""
    for param in command.params:
        if isinstance(param, TyperArgument | TyperOption) and param.type_descriptor.annotation is Path:
            param.callback = _expanded
    for inner in getattr(command, "commands", {}).values():
        _expand_paths(inner)


def _expanded(ctx: Any, param: Any, value: Path | None) -> Path | None:
    from qairt.files import expanded

    try:
        return None if value is None else expanded(value)
    except ValueError as error:
        raise typer.BadParameter(str(error), ctx=ctx, param=param) from None
