"""The LoRA concurrencies that a run built."""

from __future__ import annotations

from collections.abc import Mapping

from qairt import keys
from qairt.engine.cache.entry import Entry, mapping_in

STAGE = "lora_adapters"


def adapters_of(entries: Mapping[tuple[str, str], Entry]) -> dict[str, str]:
    """By concurrency, a digest of its adapters' content and strengths; empty if the run wrote no adapter values.

    Args:
        entries: the run's, by stage and label.
    """
    found = [mapping_in(entry.inputs, "extras", "params") for (stage, _), entry in entries.items() if stage == STAGE]
    return {str(params["name"]): keys.digest(params) for params in found if "name" in params}
