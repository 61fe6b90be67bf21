"""`qairt bundle`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from qairt.amounts import count
from qairt.cli import exit_codes
from qairt.cli.console import emit, emit_json
from qairt.cli.options import Json
from qairt.cli.text.findings import print_finding

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.callback()
def _group() -> None:
    """Check a bundle before it goes to a device."""


@app.command("check")
def check(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A bundle's folder, from qairt or another tool.")],
    as_json: Json = False,
) -> None:
    """Check that a bundle is complete and consistent.

    Covers all that can be checked without the device: files and checksums; the chip, graphs, tensors and encodings of
    the binaries; whether the parts match each other; the runtime's configuration; the tokenizer. Genie itself reads
    genie_config.json and, if every binary holds a single graph, loads the model.

    Exit code 1 if there is an error; each finding has its remedy.

    \b
    Example:
      qairt export recipe.yaml bundle/ && qairt bundle check bundle/
    """
    from qairt.bundle.check.bundle import check_bundle

    findings = check_bundle(directory)
    errors = [finding for finding in findings if finding.status == "error"]
    if as_json:
        emit_json({"ok": not errors, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            print_finding(finding)
        emit(f"{directory}: {count(len(errors), 'error') if errors else 'no errors'}")
    raise typer.Exit(exit_codes.FAILED if errors else exit_codes.DONE)
