"""What `verify` stored of the artifacts of a run."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from qairt.engine.cache import Entry, StageCache
from qairt.engine.run_state import RunState
from qairt.report.artifacts import entries_of
from qairt.report.facts import Fidelity
from qairt.runtime.verify_result import RUNGS, RungFidelity, Verification

STAGE, FIDELITY = "verify", "fidelity.json"


def fidelity_of(cache: StageCache, state: RunState, settings: dict[str, Any]) -> Fidelity | None:
    """The latest result of each rung that ran on exactly this run's items, all parts; None when there is none.

    Args:
        settings: the run's, for the thresholds that results are judged by.
    """
    keys = {item.name: item.key for item in state.items.values()}
    latest: dict[str, tuple[str, RungFidelity]] = {}
    for entry in entries_of(cache, STAGE):
        asked = entry.inputs.get("config")
        asked = asked if isinstance(asked, dict) else {}
        if asked.get("part") is None and _ran_on(entry, keys):
            found = _read(entry)
            if found is not None and (found.rung not in latest or latest[found.rung][0] < entry.timestamp):
                latest[found.rung] = entry.timestamp, found
    rungs = tuple(latest[name][1] for name in RUNGS if name in latest)
    if not rungs:
        return None
    verification = Verification(rungs=rungs, skipped=(), min_sqnr_db=_thresholds(settings))
    return Fidelity(
        parts=verification.parts(),
        first_below=verification.first_below(),
        layers=[layer for rung in rungs for layer in rung.costliest()],
        tokens={rung.rung: rung.tokens for rung in rungs},
    )


def _ran_on(entry: Entry, keys: dict[str, str]) -> bool:
    extras = entry.inputs.get("extras")
    sources = extras.get("sources") if isinstance(extras, dict) else None
    return isinstance(sources, dict) and all(keys.get(name) == key for name, key in sources.items())


def _read(entry: Entry) -> RungFidelity | None:
    try:
        return RungFidelity.model_validate_json((entry.directory / FIDELITY).read_bytes())
    except (OSError, ValidationError):
        return None


def _thresholds(settings: dict[str, Any]) -> dict[str, float]:
    from qairt.stages.settings import VerifyConfig

    try:
        return VerifyConfig.model_validate(settings.get("verify") or {}).min_sqnr_db.model_dump()
    except ValidationError:
        return VerifyConfig().min_sqnr_db.model_dump()
