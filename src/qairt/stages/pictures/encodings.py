"""Pictures of a model's encodings: weight step sizes and activation ranges by layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from math import log
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from qairt.stages.pictures.svg import WIDTH, picture

if TYPE_CHECKING:
    from qairt.quant.encodings import Encoding, Encodings
    from qairt.quant.structure import Structure

_LAYER = re.compile(r"(?:^|.*[._/])layers[._/](?P<layer>\d+)[._/](?P<name>.+)")
_STREAM = re.compile(r"(?P<name>hidden|attended|past_key|past_value|past_conv)_(?P<layer>\d+)(?:_out)?")
_ROTATION = re.compile(r".*\.[qk]\.(first|second|rotated)_\w+")
_LEFT, _TOP, _ROW = 168, 64, 22
_LIGHT, _DARK = (225, 236, 248), (168, 40, 40)


class GridSizes(BaseModel):
    """The values drawn, by tensor. Stored beside the encodings, as those of a large model take gigabytes to read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight_steps: dict[str, float]
    """Mean step size of each weight with more than one scale."""
    activation_ranges: dict[str, float]
    """Largest absolute value that each activation's grid can represent."""

    @classmethod
    def of(cls, encodings: Encodings, structure: Structure) -> GridSizes:
        """Of activations, those whose range is measured, but for the steps of a rotary embedding."""
        measured = set(structure.measured)
        return cls(
            weight_steps={
                name: _mean_step(encoding) for name, encoding in encodings.params.items() if len(encoding.scale) > 1
            },
            activation_ranges={
                name: float(max(abs(encoding.minimum.min()), abs(encoding.maximum.max())))
                for name, encoding in encodings.activations.items()
                if _named(name)[0] and name in measured and not _ROTATION.fullmatch(name)
            },
        )


def draw_grids(sizes: GridSizes, directory: Path) -> None:
    """Write `weight_steps.svg` and `activation_ranges.svg`; tensors outside the layers are left out."""
    for file, title, values in (
        ("weight_steps.svg", "Mean step size of the quantized weights, by layer", sizes.weight_steps),
        (
            "activation_ranges.svg",
            "Range of the activations' grids (largest absolute value), by layer",
            sizes.activation_ranges,
        ),
    ):
        drawn = _by_layer(title, values)
        if drawn:
            (directory / file).write_text(drawn, encoding="utf-8")


def _mean_step(encoding: Encoding) -> float:
    if encoding.blocks is None:
        return float(encoding.scale.mean())
    return float((encoding.blocks.int_scale.mean(axis=0) * encoding.scale).mean())


def _named(tensor: str) -> tuple[str, int]:
    """A tensor's name within its layer, and the layer; an empty name for tensors outside the layers."""
    found = _LAYER.fullmatch(tensor) or _STREAM.fullmatch(tensor)
    return (found["name"].removesuffix(".weight"), int(found["layer"])) if found else ("", 0)


def _by_layer(title: str, values: Mapping[str, float]) -> str:
    """A heat map with a row for each tensor of a layer; empty if there is none."""
    cells: dict[str, dict[int, float]] = {}
    for name, value in values.items():
        tensor, layer = _named(name)
        if tensor:
            cells.setdefault(tensor, {})[layer] = value
    layers = sorted({layer for line in cells.values() for layer in line})
    return heat_map(title, list(cells.items()), layers) if cells else ""


def heat_map(title: str, rows: Sequence[tuple[str, Mapping[int, float]]], columns: Sequence[int]) -> str:
    """One cell per value, on a logarithmic colour scale, with the value as tooltip.

    Args:
        rows: name, and positive values by column; cells without one are left empty.
    """
    known = [value for _, line in rows for value in line.values() if value > 0]
    low, high = min(known, default=1.0), max(known, default=1.0)
    cell = (WIDTH - _LEFT - 16) / len(columns)
    label_every = max(1, round(32 / cell))
    parts = [
        f'<text class="faint" x="{_LEFT + (at + 0.5) * cell:.0f}" y="{_TOP - 6}" text-anchor="middle">{column}</text>'
        for at, column in enumerate(columns)
        if at % label_every == 0
    ]
    for row, (name, line) in enumerate(rows):
        y = _TOP + row * _ROW
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        for at, column in enumerate(columns):
            value = line.get(column, 0.0)
            if value > 0:
                fraction = log(value / low) / log(high / low) if high > low else 0.0
                parts.append(
                    f'<rect x="{_LEFT + at * cell:.1f}" y="{y}" width="{cell - 1:.1f}" height="{_ROW - 2}"'
                    f' fill="{_colour(fraction)}"><title>{escape(name)}, layer {column}: {value:.4g}</title></rect>'
                )
    foot = _TOP + len(rows) * _ROW
    scale = f"from {low:.4g} (light) to {high:.4g} (dark), logarithmic"
    parts.append(f'<text class="faint" x="{_LEFT}" y="{foot + 18}">{scale}</text>')
    return picture(title, scale, foot + 32, parts)


def _colour(fraction: float) -> str:
    red, green, blue = (round(light + fraction * (dark - light)) for light, dark in zip(_LIGHT, _DARK, strict=True))
    return f"rgb({red},{green},{blue})"
