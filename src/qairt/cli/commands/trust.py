"""`qairt trust`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qairt.cli.console import emit


def trust(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="PATH", help="The folder of an SDK, or one that holds several.", show_default=False),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Trust it no longer.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="Print the trusted folders.")] = False,
) -> None:
    """Let a recipe run the programs of a QAIRT SDK that it names.

    A recipe with `sdk_root` runs programs from that folder with your rights, so qairt asks once. The SDK in
    QAIRT_SDK_ROOT needs no trust: you named it yourself.

    \b
    Examples:
      qairt trust /opt/qcom/qairt/2.43.0.260128
      qairt trust /opt/qcom/qairt            every version in it
      qairt trust --list
      qairt trust --remove /opt/qcom/qairt
    """
    from qairt.errors import RecipeError
    from qairt.toolchain.sdk import trust as kept

    if path is None:
        if remove or not listed:
            raise typer.BadParameter("name a folder, or list the trusted ones with --list", param_hint="PATH")
        for folder in kept.trusted_folders():
            emit(str(folder))
        return
    if remove:
        if not kept.distrust(path):
            raise RecipeError("it is not trusted", where=str(path), remedy="qairt trust --list")
        emit(f"{path} is no longer trusted")
        return
    if not path.is_dir():
        raise RecipeError("there is no such folder", where=str(path), remedy="give the folder with bin/ and lib/")
    emit(f"{kept.trust(path)} is trusted: recipes may run the SDKs in it")
