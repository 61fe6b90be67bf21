"""`qairt bundle`: what is in a finished bundle."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from qairt.amounts import count
from qairt.cli import exit_codes
from qairt.cli.commands.check import show
from qairt.cli.console import say, say_json
from qairt.cli.options import Json

app = typer.Typer(help="Check a bundle before it goes to a device.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Check a bundle before it goes to a device."""


@app.command("check")
def check(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A bundle's folder, of qairt or of another tool.")],
    as_json: Json = False,
) -> None:
    """Say whether a bundle is complete and right.

    All that is known without the device: files and checksums; the binaries' chip, graphs, tensors and encodings;
    whether parts suit each other; the runtime's configuration against all of that; the tokenizer. Genie itself reads
    genie_config.json and, where every binary holds one graph, loads the whole.

    Exit code 1 when something is wrong; each finding says what to do.

    \b
    Example:
      qairt export recipe.yaml bundle/ && qairt bundle check bundle/
    """
    from qairt.bundle.check.bundle import check_bundle

    findings = check_bundle(directory)
    wrong = [finding for finding in findings if finding.status == "error"]
    if as_json:
        say_json({"ok": not wrong, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            show(finding)
        say(f"{directory}: {count(len(wrong), 'fault') if wrong else 'nothing wrong was found'}")
    raise typer.Exit(exit_codes.FAILED if wrong else exit_codes.DONE)
