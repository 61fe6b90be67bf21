"""Stored results of `verify` for the artifacts of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from pydantic import TypeAdapter, ValidationError

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import Entry
from qairt.engine.record.state import RunState
from qairt.files import read_regular
from qairt.keys import digest
from qairt.report.artifacts import entries_of
from qairt.report.facts import Fidelity
from qairt.verify.result import RUNGS, TOKEN_RUNGS, RungFidelity, TokenFidelity, VectorFidelity, Verification

if TYPE_CHECKING:
    from qairt.recipe.settings import VerifyConfig

STAGE, FIDELITY = "verify", "fidelity.json"
_Found: TypeAlias = RungFidelity | TokenFidelity | VectorFidelity


def fidelity_of(
    cache: StageCache, state: RunState, settings: Mapping[str, object], adapters: Mapping[str, str]
) -> Fidelity | None:
    """The latest result of each rung over all parts of exactly this run's items, the base first and then each
    concurrency; None when there is none.

    Args:
        settings: the run's, for the thresholds.
        adapters: of the run, see `adapters_of`; if empty, those that were measured last count.
    """
    keys = {item.name: item.key for item in state.items.values()}
    latest: dict[tuple[str, str], tuple[str, _Found]] = {}
    for entry in entries_of(cache, STAGE):
        config = entry.inputs.get("config")
        config = config if isinstance(config, dict) else {}
        is_built = not adapters or _adapters_in(entry).items() <= adapters.items()
        if config.get("part") is None and is_built and _ran_on(entry, keys):
            found = _read(entry, config.get("rung"))
            place = (found.rung, found.concurrency) if found is not None else ("", "")
            if found is not None and (place not in latest or latest[place][0] < entry.timestamp):
                latest[place] = entry.timestamp, found
    names = ["", *(adapters or sorted({name for _, name in latest if name}))]
    of_rung = [latest[place][1] for rung in RUNGS for name in names if (place := (rung, name)) in latest]
    of_runtime = [latest[place][1] for rung in TOKEN_RUNGS for name in names if (place := (rung, name)) in latest]
    rungs = tuple(found for found in of_rung if isinstance(found, RungFidelity))
    runtimes = tuple(found for found in of_runtime if isinstance(found, TokenFidelity))
    vectors = tuple(found for found in of_runtime if isinstance(found, VectorFidelity))
    if not rungs and not runtimes and not vectors:
        return None
    thresholds = _thresholds(settings)
    verification = Verification(
        rungs=rungs,
        skipped=(),
        min_sqnr_db=thresholds.min_sqnr_db.model_dump(),
        tokens=runtimes,
        vectors=vectors,
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
        tokens={rung.name: rung.tokens for rung in rungs},
        runtimes=runtimes,
        first_differing=verification.first_differing(),
        vectors=vectors,
        first_astray=verification.first_astray(),
    )


def _ran_on(entry: Entry, keys: dict[str, str]) -> bool:
    extras = entry.inputs.get("extras")
    sources = extras.get("sources") if isinstance(extras, dict) else None
    return isinstance(sources, dict) and all(keys.get(name) == key for name, key in sources.items())


def _adapters_in(entry: Entry) -> dict[str, str]:
    """The concurrency that was measured, as in `adapters_of`; empty for the base."""
    extras = entry.inputs.get("extras")
    stated = extras.get("adapters") if isinstance(extras, dict) else None
    params = stated[0] if isinstance(stated, list) and stated else None
    return {str(params["name"]): digest(params)} if isinstance(params, dict) and "name" in params else {}


def _read(entry: Entry, rung: object) -> _Found | None:
    kinds = TypeAdapter[_Found](TokenFidelity | VectorFidelity if rung in TOKEN_RUNGS else RungFidelity)
    try:
        return kinds.validate_json(read_regular(entry.directory / FIDELITY))
    except (OSError, ValidationError):
        return None


def _thresholds(settings: Mapping[str, object]) -> VerifyConfig:
    from qairt.recipe.settings import VerifyConfig

    try:
        return VerifyConfig.model_validate(settings.get("verify") or {})
    except ValidationError:
        return VerifyConfig()
