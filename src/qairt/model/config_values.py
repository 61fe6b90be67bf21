"""The values of a `config.json`: those it states, and its family's defaults where it has none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from qairt.errors import ModelError

PUBLISHED = "use the config.json that was published with the model"
_MOST_LAYERS = 1 << 16
"""A damaged file may state any number; it is compared with the stored weights later."""
_NEEDED = {
    "chunked_attention": "attention in chunks",
    "linear_attention": "the gated delta rule",
    "mamba": "a state-space scan",
}
"""By type of layer."""


@dataclass(frozen=True)
class ConfigValues:
    """What a configuration says, key by key.

    Raises (every method that reads a value):
        ModelError: it is not of the expected kind; names the file and the key.
    """

    stated: Mapping[str, JsonValue]
    defaults: Mapping[str, JsonValue]
    path: Path

    def states(self, key: str) -> bool:
        return self.stated.get(key) is not None

    def value(self, key: str) -> JsonValue:
        """None for a key that the family does not have, whatever the file says."""
        return self.stated.get(key, self.defaults[key]) if key in self.defaults else None

    def number(self, key: str, *, default: float | None = None) -> float:
        value = self.stated.get(key, self.defaults.get(key))
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1 << 40:
            raise self.fault(key, value, "a positive number")
        return value

    def integer(self, key: str, *, default: int | None = None) -> int:
        value = self.number(key, default=default)
        if value != int(value):
            raise self.fault(key, value, "a whole number")
        return int(value)

    def optional_number(self, key: str) -> float | None:
        """None where it is null."""
        return None if self.value(key) is None else self.number(key)

    def flag(self, key: str) -> bool:
        """False for a key that the family does not have."""
        value = self.value(key)
        if value is not None and not isinstance(value, bool):
            raise self.fault(key, value, "true or false")
        return bool(value)

    def has_window(self, layer: int, *, usual: int) -> bool:
        """Whether `sliding_window_pattern` gives a layer a window: all but every n-th have one.

        Args:
            usual: the family's n.
        """
        return (layer + 1) % self.integer("sliding_window_pattern", default=usual) != 0

    def layers_of_type(self, kind: str, usual: Callable[[int], bool]) -> tuple[int, ...]:
        """The layers whose `layer_types` is `kind`.

        Args:
            usual: which are in the family where the configuration lists no types.
        """
        kinds = self.stated.get("layer_types")
        count = len(self.layers())
        if kinds is None:
            return tuple(layer for layer in range(count) if usual(layer))
        if not isinstance(kinds, list) or not all(isinstance(each, str) for each in kinds):
            raise self.fault("layer_types", kinds, "a list of names")
        for each in kinds:
            if each not in ("full_attention", "sliding_attention", "conv"):
                needs = _NEEDED.get(str(each))
                raise ModelError(
                    f"layers of the type {each!r} are not supported" + (f": they need {needs}" if needs else ""),
                    where=str(self.path),
                    remedy="use a model whose layers are full_attention or sliding_attention",
                )
        if len(kinds) != count:
            raise ModelError(
                f"layer_types lists {len(kinds)} layers, num_hidden_layers is {count}",
                where=str(self.path),
                remedy=PUBLISHED,
            )
        return tuple(layer for layer, each in enumerate(kinds) if each == kind)

    def layers(self) -> range:
        return range(min(self.integer("num_hidden_layers"), _MOST_LAYERS))

    def every(self, interval: int) -> list[int]:
        """The layers at the end of each group of `interval`."""
        return [layer for layer in self.layers() if (layer + 1) % interval == 0]

    def windows(self, layers: Sequence[int]) -> dict[str, object]:
        """The fields of a decoder whose `layers` have windows of `sliding_window`, if that is stated."""
        window = self.optional_number("sliding_window")
        if window is None or not layers:
            return {}
        return {"sliding_window": window, "windowed_layers": list(layers)}

    def fault(self, key: str, value: JsonValue, expected: str) -> ModelError:
        return ModelError(f"{key} is {json.dumps(value)}, not {expected}", where=str(self.path), remedy=PUBLISHED)

    def not_supported(self, feature: str) -> ModelError:
        """The error for something that the configuration asks for and the decoder does not have."""
        return ModelError(feature, where=str(self.path), remedy="use a model without it")
