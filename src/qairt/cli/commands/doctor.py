"""`qairt doctor`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.amounts import size
from qairt.cli import completion, exit_codes
from qairt.cli.console import emit, emit_json, styled
from qairt.cli.options import CacheDir, Json, Overrides

if TYPE_CHECKING:
    from qairt.cli.probes import Probe
    from qairt.llm import LLMPipeline


def doctor(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="Also check the requirements of this recipe.",
            show_default=False,
            autocompletion=completion.recipes,
        ),
    ] = None,
    overrides: Overrides = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Report what is installed and what is missing.

    Each with what it is needed for and how to install it. Calls the compiler once, in a separate process. With
    RECIPE also checks whether RAM and disk are sufficient for its run.

    \b
    Examples:
      qairt doctor
      qairt doctor recipe.yaml

    \b
    Exit codes: 0 everything needed is present, 1 the machine is too small or a
    package is missing, 3 a toolchain is missing.
    """
    from qairt.cli import probes
    from qairt.cli.find_recipe import open_pipeline

    pipeline = open_pipeline(recipe, overrides, cache_dir) if recipe else None
    needs_compiler = pipeline is None or pipeline.settings is None or pipeline.settings.backend == "HTP"
    found = [probes.platform_probe(), *probes.packages()]
    if needs_compiler:
        found.append(probes.compiler())
        found += _sdk(pipeline)
    found += [probes.import_name(), probes.gpu(), probes.nsight_systems()]
    found += [*probes.machine(pipeline.cache_dir if pipeline else Path.cwd())]
    if pipeline is not None:
        found += requirements(pipeline)
    code = exit_code(found)
    if as_json:
        emit_json({"ok": code == exit_codes.DONE, "probes": [asdict(probe) for probe in found]})
    else:
        for probe in found:
            show(probe)
    raise typer.Exit(code)


def _sdk(pipeline: LLMPipeline | None) -> list[Probe]:
    from qairt.cli import probes
    from qairt.toolchain.sdk.install import configured_root

    if pipeline is None or pipeline.settings is None:
        return probes.sdk(configured_root(None), needed=False)
    from qairt.stages.toolchain_choice import sdk_root, sdk_stages

    env = pipeline.env()
    return probes.sdk(sdk_root(env), needed=bool(sdk_stages(env)))


def exit_code(found: list[Probe]) -> int:
    missing = [probe for probe in found if probe.status == "missing"]
    if any(probe.toolchain for probe in missing):
        return exit_codes.TOOLCHAIN_MISSING
    return exit_codes.FAILED if missing else exit_codes.DONE


def requirements(pipeline: LLMPipeline) -> list[Probe]:
    """The RAM and disk that a recipe's plan needs against this machine's."""
    import shutil

    from qairt.cli.probes import Probe, existing
    from qairt.errors import ToolchainNotAvailable
    from qairt.machine import available_memory

    try:
        to_run = pipeline.plan().to_run()
    except ToolchainNotAvailable as error:  # the compiler's probe has reported it
        return [Probe("this recipe", "missing", error.what, "its run", error.remedy, True)]
    ram, disk = max((item.peak_ram for item in to_run), default=0), sum(item.bytes for item in to_run)
    free_ram, free_disk = available_memory(), shutil.disk_usage(existing(pipeline.cache_dir)).free
    return [
        Probe(
            "RAM for this recipe",
            "ok" if ram <= free_ram else "missing",
            f"the largest item needs {size(ram)}, {size(free_ram)} is free",
            "its run",
            None if ram <= free_ram else "close other programs, or raise num_splits",
        ),
        Probe(
            "disk for this recipe",
            "ok" if disk <= free_disk else "missing",
            f"the run writes up to {size(disk)}, {size(free_disk)} is free",
            "its run",
            None if disk <= free_disk else "free some space, or choose another disk with --cache-dir",
        ),
    ]


def show(probe: Probe) -> None:
    marks = {
        "ok": styled("ok     ", "green"),
        "warning": styled("note   ", "yellow"),
        "missing": styled("MISSING", "red"),
    }
    emit(f"{marks[probe.status]}  {styled(probe.name, 'bold')}: {probe.found}")
    emit(f"           for: {probe.enables}")
    if probe.remedy:
        emit(f"           do:  {probe.remedy}")
