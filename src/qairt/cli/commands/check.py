"""`qairt check`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qairt.amounts import count
from qairt.cli import exit_codes
from qairt.cli.console import emit_json
from qairt.cli.options import CacheDir, Json, Overrides, Recipe
from qairt.cli.text.findings import print_finding
from qairt.errors import Finding, QairtError

if TYPE_CHECKING:
    from qairt.engine.plan.planned import Plan
    from qairt.llm import LLMPipeline
    from qairt.recipe.settings import RecipeSettings


def check(
    recipe: Recipe,
    overrides: Overrides = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Check a recipe and this machine before a run.

    Covers the settings and the order of the stages, the model's files, the limits of the chip, the installed packages,
    and the artifacts of finished stages. Takes a second, and some more for an external graph; nothing is run.

    \b
    Example:
      qairt check recipe.yaml soc_details=chipset:SM8750
    """
    from qairt.cli.find_recipe import open_pipeline

    pipeline = open_pipeline(recipe, overrides, cache_dir)
    findings, code = findings_of(pipeline)
    if as_json:
        emit_json({"ok": code == exit_codes.DONE, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            print_finding(finding)
        _tell_next(pipeline, code, cache_dir)
    raise typer.Exit(code)


def _tell_next(pipeline: LLMPipeline, code: int, cache_dir: Path | None) -> None:
    """The one next thing: to run, or to check again once the errors are mended."""
    from qairt.cli.text.next_step import after_plan, tell_next

    if code == exit_codes.DONE:
        tell_next(after_plan(pipeline.plan()), pipeline, cache_dir)
    else:
        tell_next("check", pipeline, cache_dir, when="once the errors above are mended")


def findings_of(pipeline: LLMPipeline) -> tuple[list[Finding], int]:
    """All findings, and the exit code of the worst."""
    recipe = str(pipeline.recipe.source)
    names = pipeline.stage_names()
    findings = [Finding("recipe", "ok", f"{recipe}: {count(len(names), 'stage')} in a valid order")]
    notes = (*pipeline.notices, *pipeline.warnings)
    findings += [Finding("recipe", "warning", note) for note in notes]
    env = pipeline.env()
    faults: list[QairtError] = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for stage in pipeline.configured_stages:
            try:
                pipeline.check_stage(stage, env, files=True)
                findings += [Finding(stage.name, "warning", each) for each in pipeline.stage_notices[stage.name]]
            except QairtError as error:
                if str(error) not in map(str, faults):
                    faults.append(error)
                    several = getattr(error, "faults", None) or [error]
                    findings += [Finding(stage.name, "error", _sentence(each), each.remedy) for each in several]
    findings += [Finding("dependencies", "warning", str(each.message)) for each in warned]
    try:
        pipeline.cache.require_writable()
    except QairtError as error:
        faults.append(error)
        findings.append(Finding("artifacts", "error", _sentence(error), error.remedy))
    if faults:
        return findings, max(fault.exit_code for fault in faults)
    plan = pipeline.plan()
    findings += _described(pipeline, plan)
    findings += _artifacts(pipeline, plan, notes)
    return findings, exit_codes.DONE


def _described(pipeline: LLMPipeline, plan: Plan) -> list[Finding]:
    """The details that stages give in the plan, and the toolchain."""
    findings = [
        Finding(stage.stage.name, "ok", ", ".join(f"{name}: {_value(value)}" for name, value in stage.details.items()))
        for stage in plan.stages
        if stage.details
    ]
    toolchains = [_toolchain(pipeline.settings), _sdk(pipeline)]
    return [*findings, *(Finding("dependencies", "ok", text) for text in toolchains if text)]


def _toolchain(settings: RecipeSettings | None) -> str:
    """The target and its compiler; every stage's own check has passed."""
    if settings is None:
        return ""
    if settings.backend == "CPU":
        from qairt.toolchain import cpu

        return f"{cpu.version()}, for backend CPU"
    from qairt.toolchain.qnn import wheel
    from qairt.toolchain.soc import parse_soc

    soc = parse_soc(settings.soc_details)
    return f"{wheel.version()}, for {soc.name} (HTP v{soc.htp}, {soc.vtcm_mb} MB VTCM)"


def _sdk(pipeline: LLMPipeline) -> str:
    """The SDK and the stages that use it."""
    from qairt.stages.toolchain_choice import sdk_of, sdk_stages

    env = pipeline.env()
    stages = sdk_stages(env)
    if not stages or pipeline.settings.backend == "CPU":
        return ""
    sdk = sdk_of(env)
    return f"{sdk.describe()} in {sdk.root}, for {', '.join(stages)}"


def _artifacts(pipeline: LLMPipeline, plan: Plan, reported: Sequence[str]) -> list[Finding]:
    """Whether the artifacts that the manifest lists exist and are intact."""
    items = list(plan.items)
    findings = [Finding("artifacts", "warning", note) for note in pipeline.warnings if note not in reported]
    if pipeline.manifest.is_damaged():
        text = f"{pipeline.manifest.path} is damaged; the next run rewrites it"
        findings.append(Finding("artifacts", "warning", text))
    for item in items:
        was_made = pipeline.manifest.item(item.stage.name, item.label).get("cache_key") == item.key
        if item.runs and item.released is None and was_made:
            text = f"{item.name}: {item.reason}, although a run finished it"
            findings.append(Finding("artifacts", "warning", text, "the next run rebuilds it"))
    cached = sum(item.cached for item in items)
    text = f"{cached} of {count(len(items), 'item')} finished and intact"
    if cached:
        text += "; `qairt cache verify` compares every byte"
    return [*findings, Finding("artifacts", "ok", text)]


def _sentence(error: QairtError) -> str:
    return f"{error.where}: {error.what}" if error.where else error.what


def _value(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
