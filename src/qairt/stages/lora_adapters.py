"""The values of LoRA adapters, one small item for each concurrency."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from qairt.amounts import count
from qairt.engine.axes import Coord, value_of
from qairt.engine.stage import (
    Artifact,
    Batch,
    Context,
    Env,
    Estimate,
    Expansion,
    Stage,
    StageConfig,
    StageInput,
    StageOutput,
    Task,
    register_stage,
)
from qairt.errors import ContractViolation
from qairt.files import read_regular
from qairt.stages.concurrencies import Concurrencies, adapter_paths, concurrencies_of, described
from qairt.stages.facts import model_of, sizes_of


class LoraAdaptersConfig(StageConfig):
    """`lora_adapters` has no settings; the recipe's `lora` names adapters and concurrencies."""


class LoraAdaptersInput(StageInput):
    model: Path
    lora: Path
    rotation: Path | None = None


class AdapterValues(StageOutput):
    concurrency: str
    values: Annotated[Path, Artifact("LoRA values")]
    """Safetensors: every branch input of all parts as stored integers, by name. See `qairt.quant.lora_record`."""
    clipped: dict[str, float]
    """By branch input, the share of values that its grid cannot hold."""
    is_calibrated: bool
    """Activations were measured with these adapters at these strengths."""
    strengths: dict[str, float] = Field(default_factory=dict)
    """Of graphs that hold the adapters, the strength of each, in the order of `lora_alpha`."""


@register_stage
class LoraAdapters(Stage[LoraAdaptersConfig, LoraAdaptersInput, AdapterValues]):
    """Write the inputs of the LoRA branches for the base and each concurrency, rounded to the grids of the graphs.

    1. It comes by itself before `export_bundle` where the recipe has concurrencies.
    2. Nothing else depends on an adapter's values: another adapter of the same ranks and modules makes this item and
       the bundle again, no graph and no binary.
    3. Values outside a grid are clipped; the run then says how many, and that `--force quantization` makes grids for
       them.
    4. Of graphs that hold the adapters (`form: hot_switch`) these are strengths.
    """

    name = "lora_adapters"
    axis_name: ClassVar[str] = "concurrency"
    merges = ("cl", "ar", "split")
    adds_items = True
    requires = ("quantization",)

    def check(self, env: Env) -> None:
        _required(env)

    def labels(self, coord: Coord, env: Env) -> Sequence[int]:
        return range(len(_required(env).names))

    def expand(self, batch: Batch, env: Env) -> Expansion:
        found, model, tasks = _required(env), model_of(env).source, []
        first = min(batch)
        estimate = Estimate(
            bytes=_value_count(found, env), seconds=1 + sizes_of(env).total / 1e10, peak_ram=400_000_000
        )
        for place, name in enumerate(found.names):
            tasks.append(
                Task(
                    coord=(("concurrency", place),),
                    name=name,
                    sources=(first,),
                    params=described(env, self.name, found, name),
                    paths={"model": model, **adapter_paths(found, name)},
                    estimate=estimate,
                )
            )
        return Expansion(tasks)

    def facets_read(self) -> Collection[str]:
        return ()

    def introspect(self, batch: Batch, env: Env, token: object) -> Mapping[str, object]:
        found = _required(env)
        return {name: ", ".join(_active_text(found.strengths(name))) or "no adapter" for name in found.names}

    def run(self, task: Task, context: Context[LoraAdaptersConfig, LoraAdaptersInput]) -> AdapterValues:
        from safetensors.numpy import save_file

        from qairt.model.config import DecoderConfig
        from qairt.model.lora.adapter import read_adapter
        from qairt.model.lora.shape import branch_values
        from qairt.quant.lora_record import ActiveAdapter, LoraRecord
        from qairt.stages.facts import open_quantized

        config = DecoderConfig.model_validate_json(read_regular(context.input.model))
        record = LoraRecord.read(context.input.lora)
        parameters = open_quantized(task.paths["model"], config, None, context.input.rotation)
        adapters = task.params["adapters"]
        assert isinstance(adapters, list)
        active = [ActiveAdapter.model_validate(each) for each in adapters]
        opened = [
            (read_adapter(each.name, task.paths[f"adapter {each.name}"], config), each.strength) for each in active
        ]
        context.progress(0.0, "reading adapters")
        values = branch_values(record.shape, opened, parameters)
        path = context.directory / "values.safetensors"
        save_file(record.stored(values), path)
        path.chmod(0o644)
        clipped = record.clipped(values)
        for name, share in clipped.items():
            print(f"{name}: {share:.1%} of the values are clipped")
        return AdapterValues(
            concurrency=str(task.params["name"]),
            values=path,
            clipped=clipped,
            is_calibrated=record.is_calibrated(active),
            strengths=dict.fromkeys(record.shape.adapters, 0.0)
            | ({each.name: each.strength for each in active} if record.shape.is_switched else {}),
        )

    def remarks(self, items: Batch) -> Sequence[str]:
        found = [item.output for item in items.values() if isinstance(item.output, AdapterValues)]
        return [remark for output in found for remark in remarks_on(output)]


def remarks_on(output: AdapterValues) -> list[str]:
    """What a user should know about a concurrency whose adapters are not those that the graphs were calibrated with."""
    told = []
    where = f"lora.concurrencies.{output.concurrency}"
    if output.clipped:
        name, share = max(output.clipped.items(), key=lambda pair: pair[1])
        told.append(
            f"{where}: {count(len(output.clipped), 'input')} of its LoRA branches have values that the grids of the"
            f" finished graphs clip, {name} most ({share:.1%} of its values): qairt run --force quantization measures"
            " them again, and rebuilds everything after it"
        )
    elif not output.is_calibrated:
        told.append(
            f"{where}: the ranges of activations were measured with other adapters; qairt run --force quantization"
            " measures them with these, and rebuilds everything after it"
        )
    return told


def is_graph(coord: Coord) -> bool:
    """Whether a coordinate is that of a graph, and not of a concurrency."""
    return value_of(coord, LoraAdapters.axis_name, -1) < 0


def _required(env: Env) -> Concurrencies:
    found = concurrencies_of(env)
    if found is None:
        raise ContractViolation(
            "the recipe has no LoRA concurrencies",
            where="stages.lora_adapters",
            remedy="set lora.adapters and lora.concurrencies, or remove this stage",
        )
    return found


def _active_text(strengths: Mapping[str, float]) -> list[str]:
    return [name if strength == 1 else f"{strength:g} of {name}" for name, strength in strengths.items()]


def _value_count(found: Concurrencies, env: Env) -> int:
    return sum(prod(shape) for shape in found.shape.input_shapes(model_of(env).config).values())
