"""Speed and answers of the float model, if the run profiled it."""

from __future__ import annotations

from collections.abc import Mapping

from qairt.engine.cache.entry import Entry
from qairt.engine.stage import read_output
from qairt.report.facts import Speed

STAGE = "torch_profiler"
_OPERATORS = 8


def speed_of(entries: Mapping[tuple[str, str], Entry]) -> Speed | None:
    """The run's profile from the cache; None when it is missing or cannot be read."""
    from qairt.stages.float_profile.pages import busy_warning, read_operators, read_profile, summary_rows
    from qairt.stages.float_profile.workload import ProfiledModel

    entry = entries.get((STAGE, "all"))
    if entry is None:
        return None
    try:
        output = read_output(ProfiledModel, entry.directory)
        profile, tables = read_profile(output), read_operators(output)
    except (OSError, ValueError):
        return None
    return Speed(
        rows=summary_rows(profile),
        warning=busy_warning(profile),
        operators={
            table.phase: [
                (row.name, row.self_ms, row.self_ms / table.self_ms if table.self_ms else 0.0)
                for row in table.operators[:_OPERATORS]
            ]
            for table in tables
        },
        answers=[(found.prompt, found.text_clean) for found in profile.prompts],
    )
