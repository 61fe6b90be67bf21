"""Parts on the HTP emulator, by the real compiler, each in a child process."""

from __future__ import annotations

import os
import re
import signal

import numpy as np
import pytest
from tiny_parameters import tiny_parameters
from tiny_parts import make_parts, measured_encodings

from qairt.errors import ToolchainError
from qairt.runtime.emulator import EmulatedGenerator, EmulatedPart
from qairt.runtime.parts import PartGraph
from qairt.toolchain.soc import SOCS

pytest.importorskip("onnxruntime_qnn")
pytestmark = pytest.mark.compiler

SOC = SOCS["SM8650"]
IDS = np.random.default_rng(0).integers(3, 250, 32).tolist()


@pytest.fixture(scope="module")
def parts(tmp_path_factory, parameters):
    encodings = measured_encodings(parameters, IDS)
    directory = tmp_path_factory.mktemp("quantized")
    return make_parts(directory, parameters, ars=[1, 8], cl=32, num_splits=3, encodings=encodings)


def test_it_says_what_it_does_and_agrees_with_the_cpu(parts, config):
    said: list[str] = []
    with EmulatedGenerator(parts, config, notify=said.append, soc=SOC) as generator:
        generator.prefill(IDS[:13])
        for token in IDS[13:16]:
            generator.decode(token)
        assert generator.length == 16
        comparison = generator.comparison
    for ar, unit in ((8, "for 8 tokens"), (1, "per token")):
        compiling, compiled, called = said[:3]
        del said[:3]
        assert compiling == f"AR {ar}: compiling 3 parts for the emulator"
        assert re.fullmatch(rf"AR {ar}: compiled in \d+ s", compiled)
        assert re.fullmatch(rf"AR {ar}: \d+\.\d s {unit}", called)
    assert said == []
    assert comparison is not None
    graphs = [f"ar{ar}-cl32_{part}_of_3" for ar in (8, 1) for part in (1, 2, 3)]
    assert list(comparison.worst_sqnr_db) == graphs
    for graph, outputs in comparison.worst_sqnr_db.items():
        for name, db in outputs.items():
            assert db > 30, f"{graph} {name}"
    assert [line.split(":")[0] for line in comparison.summary()] == graphs
    assert "keys and values" in comparison.summary()[1]
    assert "logits" in comparison.summary()[2]


def test_a_child_that_dies_is_an_error_that_names_the_part(parts):
    part = parts[1][0]
    runner = EmulatedPart(part, soc=SOC)
    runner.ready()
    os.kill(runner.pid, signal.SIGSEGV)
    with pytest.raises(ToolchainError) as caught:
        runner.run({"input_ids": np.zeros((1, 1), np.int32)})
    runner.close()
    assert caught.value.where == "ar1-cl32_1_of_3"
    assert caught.value.what.startswith("the emulator's process was killed by SIGSEGV")


def test_a_graph_the_compiler_refuses_is_an_error_that_names_the_part(parts, tmp_path):
    broken = PartGraph(tmp_path / "broken.onnx", parts[1][0].signature)
    broken.onnx.write_bytes(b"not a graph")
    runner = EmulatedPart(broken, soc=SOC)
    with pytest.raises(ToolchainError, match="the emulator rejects this graph"):
        runner.ready()
    runner.close()


def test_closing_ends_the_child(parts):
    runner = EmulatedPart(parts[1][0], soc=SOC)
    runner.close()
    with pytest.raises(ProcessLookupError):
        os.kill(runner.pid, 0)


@pytest.mark.parametrize("ar", [8, 32])
def test_norms_of_heads_before_rotary_are_not_miscompiled(tmp_path, ar):
    """With the products' operands the other way round, QNN 2.51 computes garbage: 8 dB and less."""
    parameters = tiny_parameters(tmp_path / "model", "qwen3")
    ids = [token % 128 for token in IDS]
    parts = make_parts(
        tmp_path, parameters, ars=[ar], cl=64, num_splits=2, encodings=measured_encodings(parameters, ids)
    )
    with EmulatedGenerator(parts, parameters.config, notify=lambda _: None, soc=SOC) as generator:
        generator.prefill(ids[:ar])
        assert generator.comparison is not None
        worst = generator.comparison.worst_sqnr_db[f"ar{ar}-cl64_2_of_2"]
    assert min(worst.values()) > 40, worst
