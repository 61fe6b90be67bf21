"""Stored results of `verify` for the artifacts of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import ValidationError

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import Entry
from qairt.engine.record.state import RunState
from qairt.files import read_regular
from qairt.report.artifacts import entries_of
from qairt.report.facts import Fidelity
from qairt.verify.result import RUNGS, TOKEN_RUNGS, RungFidelity, TokenFidelity, Verification

if TYPE_CHECKING:
    from qairt.recipe.settings import VerifyConfig

STAGE, FIDELITY = "verify", "fidelity.json"


def fidelity_of(cache: StageCache, state: RunState, settings: Mapping[str, object]) -> Fidelity | None:
    """The latest result of each rung over all parts of exactly this run's items; None when there is none.

    Args:
        settings: the run's, for the thresholds.
    """
    keys = {item.name: item.key for item in state.items.values()}
    latest: dict[str, tuple[str, RungFidelity | TokenFidelity]] = {}
    for entry in entries_of(cache, STAGE):
        config = entry.inputs.get("config")
        config = config if isinstance(config, dict) else {}
        if config.get("part") is None and not config.get("concurrency") and _ran_on(entry, keys):
            found = _read(entry, config.get("rung"))
            if found is not None and (found.rung not in latest or latest[found.rung][0] < entry.timestamp):
                latest[found.rung] = entry.timestamp, found
    found_of = {name: found for name, (_, found) in latest.items()}
    rungs = tuple(found for name in RUNGS if isinstance(found := found_of.get(name), RungFidelity))
    runtimes = tuple(found for name in TOKEN_RUNGS if isinstance(found := found_of.get(name), TokenFidelity))
    if not rungs and not runtimes:
        return None
    thresholds = _thresholds(settings)
    verification = Verification(
        rungs=rungs,
        skipped=(),
        min_sqnr_db=thresholds.min_sqnr_db.model_dump(),
        tokens=runtimes,
        max_tie=thresholds.max_tie,
        min_top1=thresholds.min_top1,
        max_kl=thresholds.max_kl,
        min_cpu_db=thresholds.min_cpu_db,
    )
    return Fidelity(
        parts=verification.parts(),
        first_below=verification.first_below(),
        models=verification.models(),
        first_far=verification.first_far(),
        layers=[layer for rung in rungs for layer in rung.costliest()],
        tokens={rung.rung: rung.tokens for rung in rungs},
        runtimes=runtimes,
        first_differing=verification.first_differing(),
    )


def _ran_on(entry: Entry, keys: dict[str, str]) -> bool:
    extras = entry.inputs.get("extras")
    sources = extras.get("sources") if isinstance(extras, dict) else None
    return isinstance(sources, dict) and all(keys.get(name) == key for name, key in sources.items())


def _read(entry: Entry, rung: object) -> RungFidelity | TokenFidelity | None:
    kind: type[RungFidelity] | type[TokenFidelity] = TokenFidelity if rung in TOKEN_RUNGS else RungFidelity
    try:
        return kind.model_validate_json(read_regular(entry.directory / FIDELITY))
    except (OSError, ValidationError):
        return None


def _thresholds(settings: Mapping[str, object]) -> VerifyConfig:
    from qairt.recipe.settings import VerifyConfig

    try:
        return VerifyConfig.model_validate(settings.get("verify") or {})
    except ValidationError:
        return VerifyConfig()
