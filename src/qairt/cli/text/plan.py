"""A plan as text: the table of stages, the items that run with their reasons, the reports to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qairt.amounts import about, compact, count, size
from qairt.cli.console import styled, table

if TYPE_CHECKING:
    from qairt.engine.plan.planned import Plan, PlannedItem, StagePlan
    from qairt.engine.record.eta import Eta


def plan_lines(plan: Plan, *, jobs: int, memory: int, brief: bool = False) -> list[str]:
    """The whole plan; the table of stages and one sentence if `brief`."""
    lines = [*stage_table(plan), ""]
    to_run = plan.to_run()
    if not to_run:
        waiting = sum(item.on_demand for item in plan.items)
        cached = count(sum(item.cached for item in plan.items), "item")
        lines.append(f"Nothing to run: {cached} cached, {waiting} on demand." if waiting else _all_cached(cached))
    else:
        lines.append(styled(_summary(plan, jobs, memory) + ("." if brief else ":"), "bold"))
    if brief:
        return lines
    return [*lines, *(reasons(to_run) if to_run else []), *report_lines(plan)]


def _all_cached(items: str) -> str:
    return f"Nothing to run: {items}, all cached."


def stage_table(plan: Plan) -> list[str]:
    """One line per stage; the bytes on disk are those of all its items, time and RAM those that run."""
    rows = [_row(stage.stage.name, stage.items, _artifacts(stage)) for stage in plan.stages]
    rows.append(_row("total", list(plan.items), ""))
    return table(rows, header=("stage", "to run", "on disk", "time", "RAM", "output"), right=(1, 2, 3, 4))


def reasons(to_run: list[PlannedItem]) -> list[str]:
    """Every item that runs: how long it takes, and why it is not reused."""
    rows = [(f"  {item.stage.name}", item.label, _marked(compact(item.seconds), [item]), item.why) for item in to_run]
    return table(rows, header=("  stage", "item", "time", "why it runs"), right=(2,))


def report_lines(plan: Plan) -> list[str]:
    """The reports of stages that are missing or belong to another result."""
    from qairt.cli.text.place import shown

    due = [output for output in plan.outputs if not output.current]
    if not due:
        return []
    rows = [(f"  {output.stage.name}", output.kind, shown(output.directory), output.reason) for output in due]
    head = styled(f"{count(len(due), 'report')} to write:", "bold")
    return ["", head, *table(rows, header=("  stage", "report", "folder", "why it is written"))]


def disk_lines(plan: Plan, peak: int) -> list[str]:
    """What the run takes on disk at its peak, and what it keeps of it; nothing where all is kept.

    Args:
        peak: bytes beyond what is there.
    """
    from qairt.engine.plan.disk import let_go_items

    going = list(dict.fromkeys(item.stage.name for item in let_go_items(plan) if not item.stage.on_demand))
    if not going:
        return []
    gone = f"the large files of {', '.join(going)} are deleted once nothing reads them any more"
    return ["", f"Disk: ~{size(peak)} more at the peak; {gone} (`keep: all` keeps them)."]


def _row(name: str, items: list[PlannedItem], output: str) -> tuple[str, ...]:
    to_run = [item for item in items if item.runs]
    built = sum(item.stored is None for item in to_run)
    return (
        name,
        f"{built}/{len(items)}",
        _marked(size(sum(item.bytes for item in items if not item.on_demand)), items),
        _marked(compact(sum(item.seconds for item in to_run)), to_run) if to_run else "",
        _marked(size(max(item.peak_ram for item in to_run)), to_run) if to_run else "",
        output,
    )


def _artifacts(stage: StagePlan) -> str:
    """`8 DLC, 8 quantized ONNX`."""
    kinds = []
    for kind, number in stage.artifacts.items():
        plural = f"{kind.removesuffix('y')}ies" if kind.endswith("binary") else kind
        kinds.append(f"{number} {plural if number != 1 else kind}")
    made = ", ".join(kinds)
    return f"{made} on demand" if made and all(item.on_demand for item in stage.items) else made


def _marked(text: str, items: list[PlannedItem]) -> str:
    """`text` with `~` if it is expected: one of the items is still to run."""
    return f"~{text}" if any(item.runs for item in items) else text


def _summary(plan: Plan, jobs: int, memory: int) -> str:
    from qairt.engine.record.eta import in_words

    eta = expected(plan, jobs, memory)
    fetched = plan.to_fetch()
    built = count(len(plan.to_run()) - len(fetched), "item")
    there = f"{_in_the_store(fetched)}; " if fetched else ""
    return f"{there}{built} to run, {in_words(eta)}, {eta.basis}, at most {jobs} at a time"


def _in_the_store(items: list[PlannedItem]) -> str:
    """`12 items in the store, 1.24 GB to fetch, ~20 s (building: ~5 min 10 s)`."""
    fetching, building = sum(item.seconds for item in items), sum(item.expected.seconds for item in items)
    to_fetch = f"{size(sum(item.bytes for item in items))} to fetch, ~{about(fetching)}"
    return f"{count(len(items), 'item')} in the store, {to_fetch} (building: ~{about(building)})"


def expected(plan: Plan, jobs: int, memory: int) -> Eta:
    """How long a run of this plan takes."""
    from qairt.engine.plan.announce import planned_entries
    from qairt.engine.record.eta import remaining
    from qairt.engine.record.state import RunState

    return remaining(RunState.of_plan(planned_entries(plan)), 0.0, jobs=jobs, memory=memory)
