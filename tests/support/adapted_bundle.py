"""Contents of bundles for a two-layer model with LoRA branches: two adapters, in two concurrencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from made_adapters import MadeAdapter, made_adapter, ranks_of
from safetensors.numpy import save_file
from tiny_bundle import CL, PARTS, TinyModel
from tiny_parts import make_parts
from tiny_recipe import write_model

from qairt.bundle.contents import Adapters, ConcurrencyValues, Contents
from qairt.model.describe import describe_model
from qairt.model.lora.shape import LoraShape, base_values, branch_values, constant_values, shape_of
from qairt.model.parameters import open_parameters
from qairt.model.tokenizer import Tokenizer
from qairt.quant.config import TechniqueConfig
from qairt.quant.lora import AdaptedText, LoraCalibration
from qairt.quant.quantize_model import quantize_model
from qairt.runtime.stored import Array, to_stored

CONCURRENCIES = {"french": {"one": 1.0}, "both": {"one": 0.7, "two": 0.5}}


@dataclass(frozen=True)
class AdaptedTiny(TinyModel):
    """With the stored values of every concurrency, the base's too."""

    shape: LoraShape
    values: Mapping[str, Mapping[str, Array]]

    def adapters(self, folder: Path) -> Adapters:
        """The values as files in `folder`."""
        found = []
        for name, values in self.values.items():
            save_file(dict(values), folder / f"{name}.safetensors")
            active = CONCURRENCIES.get(name, {})
            strengths = {adapter: active.get(adapter, 0.0) for adapter in self.shape.adapters}
            found.append(ConcurrencyValues(name, folder / f"{name}.safetensors", strengths))
        return Adapters(found)

    def with_adapters(self, contents: Contents) -> Contents:
        return replace(contents, adapters=self.adapters(self.folder))


def make_adapted(folder: Path, *, hot_switch: bool = False) -> AdaptedTiny:
    """A random model with a real tokenizer, 8-bit weights and two adapters that show in every answer."""
    write_model(folder / "model")
    config = describe_model(folder / "model").config
    (folder / "model.json").write_text(config.model_dump_json())
    Tokenizer.open(folder / "model").save(folder / "tokenizer")
    parameters = open_parameters(folder / "model", config)
    adapters: dict[str, MadeAdapter] = {
        "one": made_adapter(config, "one", 4, size=0.3),
        "two": made_adapter(config, "two", 2, ("q_proj", "down_proj"), size=0.3),
    }
    together = [list(each) for each in CONCURRENCIES.values()]
    shape = shape_of(config, together, ranks_of(*adapters.values()), hot_switch=hot_switch)
    constants = dict(constant_values(shape, adapters, parameters))
    ids = [np.random.default_rng(seed).integers(3, 250, 48) for seed in (0, 1, 2)]
    branches = {
        name: branch_values(shape, [(adapters[each], strength) for each, strength in active.items()], parameters)
        for name, active in CONCURRENCIES.items()
    }
    texts = [AdaptedText(name, [text], branches[name]) for name, text in zip(CONCURRENCIES, ids[1:], strict=True)]
    quantized = quantize_model(
        parameters,
        ids[:1],
        TechniqueConfig(technique="minmax"),
        lora=LoraCalibration(shape, texts, constants=constants),
    )
    parts = make_parts(
        folder,
        parameters,
        ars=(1, 8),
        cl=CL,
        num_splits=PARTS,
        encodings=quantized.encodings,
        lora=shape,
        constants=constants,
    )
    specs = {spec.name: spec for part in parts[1] for spec in part.signature.inputs}
    values = {
        name: {key: to_stored(value, specs[key]) for key, value in found.items()}
        for name, found in {"base": base_values(shape, config), **branches}.items()
    }
    return AdaptedTiny(folder, config, parts, shape, values)
