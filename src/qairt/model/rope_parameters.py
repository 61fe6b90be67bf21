"""The rotary settings of a `config.json`, as transformers puts them together from its old and new keys.

1. `rope_scaling` (written by transformers 4, and by people who extend a context) takes the place of `rope_parameters`
   (transformers 5) as a whole: a `rope_theta` inside the latter is lost with it.
2. `rope_theta` and `partial_rotary_factor` beside the mapping count where the mapping has none.
3. `original_max_position_embeddings` beside the mapping counts even where the mapping has one.
4. Phi-3 calls longrope `su` or `yarn`.

Source: `RotaryEmbeddingConfigMixin` of transformers 5, and `Phi3Config`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from qairt.errors import ModelError
from qairt.model.config import Family
from qairt.model.family_defaults import ROPE_THETA
from qairt.model.rope_scaling import KNOWN_KEYS, normalise_rope_scaling

_PUBLISHED = "use the config.json that was published with the model"
_MOVED = ("llama3", "yarn", "longrope")


class RopeParameters:
    """What a configuration says about rotary embedding."""

    def __init__(self, stated: Mapping[str, JsonValue], family: Family, where: str) -> None:
        """
        Args:
            stated: the whole configuration.
            where: its file, for errors.

        Raises:
            ModelError: a setting is not of its type, or not supported; names the key.
        """
        self._where = where
        scaling, parameters = stated.get("rope_scaling"), stated.get("rope_parameters")
        self.key = "rope_scaling" if scaling else "rope_parameters"
        self.values = self._mapping(scaling or parameters or {})
        self.replaced = parameters if scaling and parameters and scaling != parameters else None
        """`rope_parameters` that `rope_scaling` takes the place of."""
        for key, default in (("rope_theta", ROPE_THETA), ("partial_rotary_factor", None)):
            self.values.setdefault(key, stated.get(key, default))
        kind = self._kind(family)
        if kind in _MOVED and "original_max_position_embeddings" in stated:
            self.values["original_max_position_embeddings"] = stated["original_max_position_embeddings"]

    @property
    def unknown(self) -> list[str]:
        """Keys of the mapping that no kind of rotary embedding reads."""
        return sorted(f"{self.key}.{key}" for key in self.values.keys() - KNOWN_KEYS)

    def theta(self) -> float:
        value = self.values["rope_theta"]
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise ModelError(f"rope_theta is {value!r}, not a positive number", where=self._where, remedy=_PUBLISHED)
        return float(value)

    def scaling(self, max_position_embeddings: int) -> dict[str, JsonValue] | None:
        """Normalised; see `qairt.model.rope_scaling`."""
        return normalise_rope_scaling(
            self.values, max_position_embeddings=max_position_embeddings, where=self._where, key=self.key
        )

    def _mapping(self, value: JsonValue) -> dict[str, JsonValue]:
        if not isinstance(value, dict):
            raise ModelError(f"{self.key} is {value!r}, not a mapping", where=self._where, remedy=_PUBLISHED)
        nested = [key for key, inner in value.items() if isinstance(inner, dict)]
        if nested:
            raise ModelError(
                f"{self.key} gives different settings for {' and '.join(nested)} layers, which is not supported",
                where=self._where,
                remedy="use a model whose layers share their rotary embedding",
            )
        return dict(value)

    def _kind(self, family: Family) -> JsonValue:
        kind = self.values.get("rope_type") or self.values.get("type") or "default"
        if family == "phi3" and kind in ("su", "yarn"):
            kind = "longrope"
        if family == "phi3" and kind != "default":
            self.values["rope_type"] = kind
            if kind != "longrope":
                raise ModelError(
                    f"rotary scaling type {kind!r} does not exist for phi3",
                    where=self._where,
                    remedy=_PUBLISHED,
                )
        return kind
