"""The rotary settings of a `config.json`, as transformers puts them together from its old and new keys.

1. `rope_scaling` (written by transformers 4, and by people who extend a context) takes the place of `rope_parameters`
   (transformers 5) as a whole: a `rope_theta` inside the latter is lost with it.
2. `rope_theta` and `partial_rotary_factor` beside the mapping count where the mapping has none.
3. `original_max_position_embeddings` beside the mapping counts even where the mapping has one.
4. Phi-3 calls longrope `su` or `yarn`.
5. Families whose windowed layers rotate differently have a mapping for each type of layer. In these, `rope_scaling` is
   added to the mapping of full_attention, whose `rope_type` hides the old key `type`; a mapping for all layers in
   `rope_parameters` is not read, and rule 3 does not apply.
6. Hunyuan's `dynamic` with `alpha` is the plain embedding with theta * alpha ** (d / (d - 2)).

Source: `RotaryEmbeddingConfigMixin` of transformers 5, `Gemma3TextConfig`, `Olmo3Config`, `Phi3Config`, and
`HunYuanDenseV1RotaryEmbedding`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from qairt.errors import ModelError
from qairt.model.config_values import PUBLISHED
from qairt.model.families.family import Family
from qairt.model.rope_scaling import KNOWN_KEYS, normalise_rope_scaling, number
from qairt.printable import as_written

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
        self.values: dict[str, JsonValue]
        self._local: dict[str, JsonValue] | None = None
        self._unread: list[str] = []
        if family.local_rope_theta is None:
            usual = dict(family.rope_parameters)
            self.values = self._shared(scaling or (usual if parameters is None else parameters))
        else:
            self.values, self._local = self._by_layer_type(scaling, parameters)
        has_replaced = family.local_rope_theta is None and scaling and parameters and scaling != parameters
        self.replaced = parameters if has_replaced else None
        """`rope_parameters` that `rope_scaling` takes the place of."""
        for key, default in (("rope_theta", family.rope_theta), ("partial_rotary_factor", family.partial_rotary)):
            self.values.setdefault(key, stated.get(key, default))
        if self._local is not None:
            theta = family.local_rope_theta
            is_read = "rope_local_base_freq" in family.also_read
            self._local.setdefault("rope_theta", stated.get("rope_local_base_freq", theta) if is_read else theta)
        kind = self._kind()
        trained_at = stated.get("original_max_position_embeddings")
        if trained_at is None:
            trained_at = family.defaults.get("original_max_position_embeddings")
        if kind in _MOVED and trained_at is not None and self._local is None:
            self.values["original_max_position_embeddings"] = trained_at

    @property
    def unknown(self) -> list[str]:
        """Keys of the mapping that are not read."""
        own = {"alpha"} if self._family.alpha_rotary else set()
        unread = (f"{self.key}.{key}" for key in self.values.keys() - KNOWN_KEYS - own)
        return sorted({*unread, *self._unread})

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
            what = f"rope_theta is {as_written(value)}, not a positive number"
            raise ModelError(what, where=self._where, remedy=PUBLISHED)
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

    def _mapping(self, key: str, value: JsonValue) -> dict[str, JsonValue]:
        if not isinstance(value, dict):
            raise ModelError(f"{key} is {as_written(value)}, not a mapping", where=self._where, remedy=PUBLISHED)
        return dict(value)

    def _shared(self, value: JsonValue) -> dict[str, JsonValue]:
        """The settings of all layers."""
        mapping = self._mapping(self.key, value)
        nested = [key for key, inner in mapping.items() if isinstance(inner, dict)]
        if nested:
            raise ModelError(
                f"{self.key} gives different settings for {' and '.join(nested)} layers, which is not supported",
                where=self._where,
                remedy="use a model whose layers share their rotary embedding",
            )
        return mapping

    def _by_layer_type(
        self, scaling: JsonValue, parameters: JsonValue
    ) -> tuple[dict[str, JsonValue], dict[str, JsonValue]]:
        """Rule 5: the settings of layers without windows, and of those with them."""
        default: JsonValue = {_FULL: {"rope_type": "default"}, _LOCAL: {"rope_type": "default"}}
        by_type = self._mapping("rope_parameters", default if parameters is None else parameters)
        self._unread += [f"rope_parameters.{key}" for key in by_type.keys() - {_FULL, _LOCAL}]
        full, local = (
            self._mapping(f"rope_parameters.{kind}", {} if by_type.get(kind) is None else by_type[kind])
            for kind in (_FULL, _LOCAL)
        )
        if not scaling:
            return full, local
        added = self._mapping("rope_scaling", scaling)
        if by_type.get(_FULL) is None:
            raise ModelError(
                f"rope_parameters has no {_FULL} settings that rope_scaling could be added to",
                where=self._where,
                remedy=f"move rope_scaling to rope_parameters.{_FULL}",
            )
        full |= added
        if full.get("rope_type") == "default" and added.get("type", "default") != "default":
            self._unread += [f"rope_scaling.{key}" for key in added.keys() - {"rope_type", "rope_theta"}]
        return full, local

    def _kind(self) -> JsonValue:
        kind = self.values.get("rope_type") or self.values.get("type") or "default"
        if self._family.name == "phi3" and kind in ("su", "yarn"):
            kind = "longrope"
        if self._family.name == "phi3" and kind != "default":
            self.values["rope_type"] = kind
            if kind != "longrope":
                raise ModelError(
                    f"rotary scaling type {as_written(kind)} does not exist for phi3",
                    where=self._where,
                    remedy=PUBLISHED,
                )
        return kind
