"""The rotary settings of a `config.json`, as transformers puts them together from its old and new keys.

1. `rope_scaling` (written by transformers 4, and by people who extend a context) takes the place of `rope_parameters`
   (transformers 5) as a whole: a `rope_theta` inside the latter is lost with it.
2. `rope_theta` and `partial_rotary_factor` beside the mapping count where the mapping has none.
3. `original_max_position_embeddings` beside the mapping counts even where the mapping has one.
4. Phi-3 calls longrope `su` or `yarn`.
5. Families whose windowed layers rotate differently have a mapping for each type of layer.
6. Hunyuan's `dynamic` with `alpha` is the plain embedding with theta * alpha ** (d / (d - 2)).

Source: `RotaryEmbeddingConfigMixin` of transformers 5, `Phi3Config`, and `HunYuanDenseV1RotaryEmbedding`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from qairt.errors import ModelError
from qairt.model.config_values import PUBLISHED
from qairt.model.families.family import Family
from qairt.model.rope_scaling import KNOWN_KEYS, normalise_rope_scaling, number

_MOVED = ("llama3", "yarn", "longrope")
_FULL, _LOCAL = "full_attention", "sliding_attention"


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
        self._family = family
        scaling, parameters = stated.get("rope_scaling"), stated.get("rope_parameters")
        self.key = "rope_scaling" if scaling else "rope_parameters"
        self.values, self._local = self._mappings(scaling or parameters or dict(family.rope_parameters))
        self.replaced = parameters if scaling and parameters and scaling != parameters else None
        """`rope_parameters` that `rope_scaling` takes the place of."""
        for key, default in (("rope_theta", family.rope_theta), ("partial_rotary_factor", family.partial_rotary)):
            self.values.setdefault(key, stated.get(key, default))
        if self._local is not None:
            self._local.setdefault("rope_theta", stated.get("rope_local_base_freq", family.local_rope_theta))
        kind = self._kind()
        trained_at = stated.get("original_max_position_embeddings")
        if trained_at is None:
            trained_at = family.defaults.get("original_max_position_embeddings")
        if kind in _MOVED and trained_at is not None:
            self.values["original_max_position_embeddings"] = trained_at

    @property
    def unknown(self) -> list[str]:
        """Keys of the mapping that no kind of rotary embedding reads."""
        own = {"alpha"} if self._family.alpha_rotary else set()
        return sorted(f"{self.key}.{key}" for key in self.values.keys() - KNOWN_KEYS - own)

    @property
    def _alpha(self) -> float:
        """0 if the family has none."""
        return self._number("alpha", 0.0) if self._family.alpha_rotary else 0.0

    def fields(self, max_position_embeddings: int, *, head_dim: int) -> dict[str, JsonValue]:
        """The fields of a `DecoderConfig`."""
        scaling = self._scaling(self.values, max_position_embeddings)
        fields: dict[str, JsonValue] = {"rope_theta": self._theta(self.values), "rope_scaling": scaling}
        if self._alpha > 0 and scaling is not None and scaling["rope_type"] == "dynamic":
            raised = self._theta(self.values) * self._alpha ** (head_dim / (head_dim - 2))
            fields = {"rope_theta": raised, "rope_scaling": None}
        rotated = int(head_dim * self._part())
        if rotated % 2:
            raise ModelError(
                f"rotary embedding on an odd number of values ({rotated} of a head's {head_dim}) is not supported",
                where=self._where,
                remedy="use a model that rotates an even number",
            )
        if rotated != head_dim:
            fields["rotary_dim"] = rotated
        if self._local is not None:
            theta, scaling = self._theta(self._local), self._scaling(self._local, max_position_embeddings)
            if (theta, scaling) != (fields["rope_theta"], fields["rope_scaling"]):
                fields["local_rotary"] = {"theta": theta, "scaling": scaling}
        return fields

    def _theta(self, values: Mapping[str, JsonValue]) -> float:
        value = values["rope_theta"]
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise ModelError(f"rope_theta is {value!r}, not a positive number", where=self._where, remedy=PUBLISHED)
        return float(value)

    def _scaling(self, values: Mapping[str, JsonValue], max_position_embeddings: int) -> dict[str, JsonValue] | None:
        """Normalised; see `qairt.model.rope_scaling`."""
        return normalise_rope_scaling(
            values, max_position_embeddings=max_position_embeddings, where=self._where, key=self.key
        )

    def _number(self, key: str, default: float) -> float:
        try:
            return number(self.values, key, default)
        except ValueError as error:
            raise ModelError(f"{self.key}.{error}", where=self._where, remedy=PUBLISHED) from error

    def _part(self) -> float:
        """Of each head that is rotated."""
        part = self._number("partial_rotary_factor", 1.0)
        if part != 1 and self._family.partial_rotary is None:
            raise ModelError(
                f"rotary embedding on a part of each head (partial_rotary_factor {part}) is not supported "
                f"in {self._family.name} models",
                where=self._where,
                remedy="use a model that rotates whole heads",
            )
        return part

    def _mappings(self, value: JsonValue) -> tuple[dict[str, JsonValue], dict[str, JsonValue] | None]:
        """The settings of most layers, and windowed layers' own."""
        if not isinstance(value, dict):
            raise ModelError(f"{self.key} is {value!r}, not a mapping", where=self._where, remedy=PUBLISHED)
        nested = {key: dict(inner) for key, inner in value.items() if isinstance(inner, dict)}
        if self._family.local_rope_theta is not None:
            if nested:
                return nested.get(_FULL, {}), nested.get(_LOCAL, {})
            return dict(value), {}
        if nested:
            raise ModelError(
                f"{self.key} gives different settings for {' and '.join(nested)} layers, which is not supported",
                where=self._where,
                remedy="use a model whose layers share their rotary embedding",
            )
        return dict(value), None

    def _kind(self) -> JsonValue:
        kind = self.values.get("rope_type") or self.values.get("type") or "default"
        if self._family.name == "phi3" and kind in ("su", "yarn"):
            kind = "longrope"
        if self._family.name == "phi3" and kind != "default":
            self.values["rope_type"] = kind
            if kind != "longrope":
                raise ModelError(
                    f"rotary scaling type {kind!r} does not exist for phi3",
                    where=self._where,
                    remedy=PUBLISHED,
                )
        return kind
