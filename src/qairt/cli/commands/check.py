"""`qairt check`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from qairt.amounts import count
from qairt.cli import exit_codes
from qairt.cli.console import say, say_json, styled, wrapped
from qairt.cli.options import CacheDir, Json, Overrides, Recipe
from qairt.errors import Finding, QairtError

if TYPE_CHECKING:
    from qairt.llm import LLMPipeline


def check(
    recipe: Recipe,
    overrides: Overrides = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Check everything that can be known before a run.

    The recipe and the order of its stages; the model's files; the limits of the chip; the packages it needs; the
    artifacts of finished stages. Takes a second; nothing is run.

    \b
    Example:
      qairt check recipe.yaml soc_details=chipset:SM8750
    """
    from qairt.cli.recipe_argument import open_pipeline

    pipeline = open_pipeline(recipe, overrides, cache_dir)
    findings, code = look(pipeline)
    if as_json:
        say_json({"ok": code == exit_codes.DONE, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            show(finding)
    raise typer.Exit(code)


def look(pipeline: LLMPipeline) -> tuple[list[Finding], int]:
    """All findings, and the exit code of the worst."""
    recipe = str(pipeline.recipe.source)
    names = pipeline.stage_names()
    findings = [Finding("recipe", "ok", f"{recipe}: {count(len(names), 'stage')} in an order that works")]
    told = (*pipeline.notices, *pipeline.warnings)
    findings += [Finding("recipe", "warning", note) for note in told]
    env = pipeline.env()
    faults: list[QairtError] = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for stage in pipeline.configured_stages:
            try:
                pipeline.check_stage(stage, env)
            except QairtError as error:
                if str(error) not in map(str, faults):
                    faults.append(error)
                    findings.append(Finding(stage.name, "error", _sentence(error), error.remedy))
    findings += [Finding("dependencies", "warning", str(each.message)) for each in warned]
    if faults:
        return findings, max(fault.exit_code for fault in faults)
    findings += _described(pipeline)
    findings += _artifacts(pipeline, told)
    return findings, exit_codes.DONE


def _described(pipeline: LLMPipeline) -> list[Finding]:
    """What stages say of themselves in the plan, and what the toolchain is."""
    made = pipeline.plan()
    findings = [
        Finding(stage.stage.name, "ok", ", ".join(f"{name}: {_value(value)}" for name, value in stage.details.items()))
        for stage in made.stages
        if stage.details
    ]
    told = [_toolchain(pipeline.settings), _sdk(pipeline)]
    return [*findings, *(Finding("dependencies", "ok", text) for text in told if text)]


def _toolchain(settings: Any) -> str:
    """The target and what compiles for it, once every stage's own check has passed."""
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
    """The SDK, where stages are made by it."""
    from qairt.stages.toolchain_choice import sdk_of, sdk_stages

    env = pipeline.env()
    made = sdk_stages(env)
    if not made or pipeline.settings.backend == "CPU":
        return ""
    sdk = sdk_of(env)
    return f"{sdk.describe()} in {sdk.root}, for {', '.join(made)}"


def _artifacts(pipeline: LLMPipeline, told: Sequence[str]) -> list[Finding]:
    """Whether what the manifest says is finished is still there and whole."""
    made = pipeline.plan()
    items = list(made.items)
    findings = [Finding("artifacts", "warning", note) for note in pipeline.warnings if note not in told]
    if pipeline.manifest.is_damaged():
        text = f"{pipeline.manifest.path} is damaged; the next run writes it anew"
        findings.append(Finding("artifacts", "warning", text))
    for item in items:
        if not item.cached and pipeline.manifest.item(item.stage.name, item.label).get("cache_key") == item.key:
            text = f"{item.name}: {item.reason}, though a run finished it"
            findings.append(Finding("artifacts", "warning", text, "the next run makes it again"))
    cached = sum(item.cached for item in items)
    text = f"{cached} of {count(len(items), 'item')} finished and whole"
    if cached:
        text += "; `qairt cache verify` compares every byte"
    return [*findings, Finding("artifacts", "ok", text)]


def _sentence(error: QairtError) -> str:
    return f"{error.where}: {error.what}" if error.where else error.what


def _value(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


_MARK = " " * 7


def show(finding: Finding) -> None:
    marks = {
        "ok": styled("ok     ", "green"),
        "warning": styled("warning", "yellow"),
        "error": styled("ERROR  ", "red"),
    }
    mark = marks[finding.status]
    text = wrapped(f"{_MARK}  {finding.subject}: {finding.text}", indent=11)
    say(mark + text[len(_MARK) :])
    if finding.remedy:
        say(wrapped(f"           {finding.remedy}", indent=11))
