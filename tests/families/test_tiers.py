"""Tiers 2 and 3: tiny models of every family, quantized and run on the CPU, then through the compiler."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pytest
from tiers import COMPILED, SAMPLED, quantized_run
from tiny_models import TINY

from qairt.engine.axes import Coord, value_of
from qairt.engine.stage import OutT
from qairt.graph.tensors import GraphSignature
from qairt.llm import LLMPipeline
from qairt.stages.emulation import EmulationCheck
from qairt.stages.quantize import QuantizedPart
from qairt.stages.split_model import SplitPart
from qairt.toolchain.base import QuantizedGraph
from qairt.toolchain.soc import SOCS

FLOAT_DB, QUANTIZED_DB = 100.0, 20.0
matrix = pytest.mark.matrix


def sampled(names: Iterable[str], sample: Collection[str]) -> list[object]:
    return [pytest.param(name, marks=() if name in sample else matrix, id=name) for name in names]


@pytest.mark.parametrize("name", sampled(TINY, SAMPLED))
def test_quantized_parts_are_near_the_float_model(tmp_path: Path, name: str) -> None:
    """And the float graphs equal it, and it equals what transformers computes from the same files."""
    found = quantized_run(tmp_path, name).verify()
    least = {
        part.rung: min(each.judged_db for each in found.parts() if each.rung == part.rung) for part in found.parts()
    }
    told = {rung: round(db, 1) for rung, db in least.items()}
    print(name, told, found.checkpoint)
    assert set(least) == {"export", "prepare_exports", "split_model", "mha_to_sha_conversion", "quantize"}, (
        found.skipped
    )
    assert least.pop("quantize") > QUANTIZED_DB, told
    assert min(least.values()) > FLOAT_DB, told
    assert found.checkpoint is not None, found.skipped
    assert found.checkpoint.sqnr_db > FLOAT_DB


@pytest.mark.compiler
@pytest.mark.parametrize("single_heads", [True, pytest.param(False, marks=matrix)], ids=["single", "together"])
@pytest.mark.parametrize("name", sampled(COMPILED, SAMPLED[:1]))
def test_the_compiler_is_right_about_every_form(tmp_path: Path, name: str, single_heads: bool) -> None:
    pytest.importorskip("onnxruntime_qnn")
    pipeline = quantized_run(tmp_path, name, single_heads=single_heads)
    check = EmulationCheck(SOCS["SM8650"], 3, 1, shared=tmp_path / "shared", scratch=tmp_path)
    check.run("auto", graphs_of(pipeline), lambda fraction, step: None)


def graphs_of(pipeline: LLMPipeline) -> list[tuple[QuantizedGraph, Path]]:
    """The quantized graphs of every part but the embedding, with real inputs."""
    stages = {planned.stage.name: planned.items for planned in pipeline.plan().stages}

    def outputs(stage: str, kind: type[OutT]) -> Iterator[tuple[Coord, OutT]]:
        for item in stages[stage]:
            output = pipeline.cache.get(item.key, type(item.stage))
            assert isinstance(output, kind)
            yield item.coord, output

    vectors = {coord: output.test_vectors for coord, output in outputs("split_model", SplitPart)}
    return [
        (QuantizedGraph(output.quantized_onnx, GraphSignature.read(output.signature)), vectors[coord])
        for coord, output in outputs("quantize", QuantizedPart)
        if value_of(coord, "split") > 1
    ]
