"""The `sdk` toolchain against stand-ins that fail in each known way: nothing that a tool says is believed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from sdk_stand_in import calls, install, let_fail
from tiny_parameters import TOKENS, tiny_parameters
from tiny_parts import make_parts, measured_encodings

from qairt.errors import QairtError, ToolchainError, ToolchainNotAvailable
from qairt.graph.files import external_files
from qairt.graph.part_vectors import TestVectors
from qairt.graph.tensors import GraphSignature
from qairt.quant.encodings_json import write_encodings
from qairt.toolchain.base import BinarySpec, LinkResult, PartToQuantize, QuantizedGraph
from qairt.toolchain.sdk.install import PLATFORM, Sdk
from qairt.toolchain.sdk.open import open_sdk
from qairt.toolchain.sdk.tools import SdkToolchain, graph_name
from qairt.toolchain.soc import SOCS

NAME = "ar1-cl8_1_of_2"
BINARY = "weight_sharing_model_1_of_2.serialized.bin"
TOOLS = {"convert": "qairt-converter", "quantize": "qairt-quantizer", "link": "qnn-context-binary-generator"}
LOOK = "see the item's log; run again, or use another version of the SDK"


@dataclass
class Part:
    """Part 1 of 2 of a tiny model: the embedding, float and quantized."""

    onnx: Path
    encodings: Path
    quantized: Path
    signature: GraphSignature
    vectors: Path


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Part:
    folder = tmp_path_factory.mktemp("part")
    parameters = tiny_parameters(folder / "model")
    encodings = measured_encodings(parameters, TOKENS[0])
    for kind in ("float", "quantized"):
        (folder / kind).mkdir()
    sizes = {"ars": [1], "cl": 8, "num_splits": 2}
    float_part = make_parts(folder / "float", parameters, **sizes)[1][0]
    quantized = make_parts(folder / "quantized", parameters, **sizes, encodings=encodings)[1][0]
    path = folder / "encodings.encodings"
    path.write_text(write_encodings(encodings))
    vectors = folder / "test_vectors.safetensors"
    TestVectors({"input_ids": np.array([[5]], np.int32)}, {}).save(vectors)
    return Part(float_part.onnx, path, quantized.onnx, quantized.signature, vectors)


class Work:
    """The three steps over one part, each with its result in a folder of its own."""

    def __init__(self, part: Part, tools: Sdk, folder: Path) -> None:
        self.part, self.sdk, self.folder = part, tools, folder
        for name in TOOLS:
            (folder / name).mkdir(parents=True)
        self.float_dlc = folder / "convert" / f"{NAME}.dlc"
        self.dlc = folder / "quantize" / f"{NAME}_quantized.dlc"

    def convert(self) -> None:
        SdkToolchain(self.sdk).convert(self.part.onnx, self.float_dlc, encodings=self.part.encodings)

    def quantize(self) -> None:
        for path, name in self.given():
            if not (self.dlc.parent / name).exists():
                os.link(path, self.dlc.parent / name)
        part = PartToQuantize(
            quantized_onnx=self.part.quantized,
            float_onnx=self.part.onnx,
            signature=self.part.signature,
            float_dlc=self.float_dlc,
            test_vectors=self.part.vectors,
        )
        SdkToolchain(self.sdk).quantize(part, self.dlc)

    def link(self, soc: str = "SM8650") -> LinkResult:
        return self.link_all([self.graph(self.dlc, self.part.signature)], soc)

    def link_all(self, graphs: Sequence[QuantizedGraph], soc: str) -> LinkResult:
        return SdkToolchain(self.sdk).link(graphs, self.folder / "link", BinarySpec(BINARY, SOCS[soc]))

    def graph(self, dlc: Path, signature: GraphSignature) -> QuantizedGraph:
        return QuantizedGraph(self.part.quantized, signature, dlc)

    def given(self) -> list[tuple[Path, str]]:
        """What the stage wrote before it calls the quantizer, and the names that it has there."""
        onnx = self.part.quantized
        weights = [(onnx.parent / name, name) for name in external_files(onnx)]
        return [(onnx, f"{NAME}_quantized.onnx"), *weights]

    def left(self, step: str) -> list[str]:
        """What lies in a step's folder besides what was given."""
        return sorted({path.name for path in (self.folder / step).iterdir()} - {name for _, name in self.given()})


@pytest.fixture(autouse=True)
def python(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("QAIRT_SDK_PYTHON", sys.executable)


@pytest.fixture(scope="module")
def finished(part: Part, tmp_path_factory: pytest.TempPathFactory) -> tuple[Work, LinkResult]:
    """All three steps, well done."""
    folder = tmp_path_factory.mktemp("finished")
    work = Work(part, open_sdk(install(folder / "sdk")), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QAIRT_SDK_PYTHON", sys.executable)
        work.convert()
        work.quantize()
        return work, work.link()


@pytest.fixture
def work(finished: tuple[Work, LinkResult], tmp_path: Path) -> Work:
    """A place of its own, with what earlier steps need."""
    done, _ = finished
    made = Work(done.part, done.sdk, tmp_path / "work")
    os.link(done.float_dlc, made.float_dlc)
    os.link(done.dlc, made.dlc)
    yield made
    for path in (done.sdk.root / "faults").iterdir():
        path.unlink()


def without_result(work: Work, step: str) -> None:
    """As before the step, whatever it gives."""
    for path in {"convert": [work.float_dlc], "quantize": [work.dlc], "link": []}[step]:
        path.unlink()


@pytest.mark.compiler
def test_each_step_leaves_what_was_asked_for_and_nothing_else(finished: tuple[Work, LinkResult]):
    work, linked = finished
    assert work.left("convert") == [f"{NAME}.dlc"]
    assert work.left("quantize") == [f"{NAME}_quantized.dlc"]
    assert work.left("link") == [
        f"{NAME}_ctx.onnx",
        BINARY,
        "weight_sharing_model_1_of_2_generator.json",
        "weight_sharing_model_1_of_2_htp_config.json",
    ]
    assert [graph.name for graph in linked.inspection.graphs] == [NAME]
    assert linked.inspection.graphs[0].outputs == work.part.signature.outputs
    assert linked.wrappers == {NAME: work.folder / "link" / f"{NAME}_ctx.onnx"}
    assert all(path.is_file() for path in (linked.binary, *linked.configs))


@pytest.mark.compiler
@pytest.mark.parametrize("step", TOOLS)
@pytest.mark.parametrize(
    ("how", "what", "remedy"),
    [
        ("nothing", "{tool} reported success but wrote no {name}", LOOK),
        ("segfault", "{tool} was killed by SIGSEGV", "see the item's log; SIGKILL usually means that memory ran out"),
        (
            "[ ERROR ] Finalize Graph for Idx = 0 failed with error = 1002",
            "{tool} failed: the compiler or the NPU ran out of memory for a graph ([ ERROR ] Finalize",
            "increase stages.split_model.num_splits",
        ),
        ("ERROR - something else", "{tool} failed: ERROR - something else", "see the item's log"),
        ("it stops", "{tool} failed: exit code 1 without a message", "see the item's log"),
    ],
    ids=["wrote nothing", "segfault", "code 1002", "another error", "no message"],
)
def test_a_step_that_fails_says_so_and_leaves_nothing(work: Work, step: str, how: str, what: str, remedy: str):
    without_result(work, step)
    let_fail(work.sdk.root, TOOLS[step], how)
    with pytest.raises(ToolchainError) as caught:
        getattr(work, step)()
    name = {"convert": work.float_dlc.name, "quantize": work.dlc.name, "link": BINARY}[step]
    assert caught.value.where == name
    assert caught.value.what.startswith(what.format(tool=TOOLS[step], name=name))
    assert str(caught.value.remedy).startswith(remedy)
    assert work.left(step) == []


@pytest.mark.compiler
@pytest.mark.parametrize(
    ("step", "how", "what"),
    [
        (
            "convert",
            "another graph",
            f"the DLC does not match the request: its graph is somewhere_else, not {NAME}",
        ),
        ("convert", "empty", f"qairt-converter reported success but wrote no {NAME}.dlc"),
        ("quantize", "float", "its weights take "),
        (
            "link",
            "garbage",
            "the output of qnn-context-binary-generator cannot be read as a context binary: it is not a context binary",
        ),
        ("link", "another chip", "the binary does not match the request: it is for chip 69, not 57 (SM8650)"),
    ],
)
def test_what_a_tool_wrote_is_opened_and_compared(work: Work, step: str, how: str, what: str):
    without_result(work, step)
    let_fail(work.sdk.root, TOOLS[step], how)
    with pytest.raises(ToolchainError) as caught:
        getattr(work, step)()
    assert caught.value.what.startswith(what)
    assert work.left(step) == []


@pytest.mark.compiler
def test_a_binary_without_one_of_its_graphs_is_refused(work: Work):
    other = "ar8-cl8_1_of_2"
    second = work.dlc.with_name(f"{other}_quantized.dlc")
    second.write_bytes(work.dlc.read_bytes().replace(NAME.encode(), other.encode()))
    let_fail(work.sdk.root, TOOLS["link"], "another graph")
    signature = work.part.signature
    graphs = [work.graph(work.dlc, signature), work.graph(second, signature.model_copy(update={"name": other}))]
    with pytest.raises(QairtError, match="cannot share weights between graphs"):
        work.link_all(graphs, "SM8350")
    with pytest.raises(ToolchainError, match=re.escape(f"its graphs are ['{NAME}'], not ['{NAME}', '{other}']")):
        work.link_all(graphs, "SM8650")
    assert calls(work.sdk.root)[-1].endswith(f"--dlc_path {work.dlc.name},{second.name}")
    assert work.left("link") == []


@pytest.mark.compiler
def test_vectors_that_do_not_fit_are_told_before_the_quantizer_starts(work: Work):
    without_result(work, "quantize")
    before = len(calls(work.sdk.root))
    for wrong, told in (
        (
            {"input_ids": np.zeros((1, 2), np.int32)},
            "the input input_ids is of shape (1, 2) in the test vectors; the graph takes shape (1, 1)",
        ),
        ({}, "the input input_ids is missing in the test vectors; the graph takes shape (1, 1)"),
    ):
        work.part.vectors.unlink()
        TestVectors(wrong, {"x": np.zeros(1, np.float32)}).save(work.part.vectors)
        with pytest.raises(ToolchainError) as caught:
            work.quantize()
        assert caught.value.what == told
    TestVectors({"input_ids": np.array([[1 << 25]], np.int32)}, {}).save(work.part.vectors)
    with pytest.raises(ToolchainError, match="the input input_ids holds 33554432, which float32 cannot represent"):
        work.quantize()
    TestVectors({"input_ids": np.array([[5]], np.int32)}, {}).save(work.part.vectors)
    assert len(calls(work.sdk.root)) == before
    assert work.left("quantize") == []


@pytest.mark.compiler
def test_a_tool_that_cannot_be_started_is_a_missing_toolchain(work: Work):
    tool = work.sdk.root / "bin" / PLATFORM / TOOLS["link"]
    content, mode = tool.read_bytes(), tool.stat().st_mode
    try:
        tool.chmod(0o644)
        with pytest.raises(ToolchainNotAvailable, match=f"{tool.name} is not executable\n  chmod \\+x {tool.parent}/"):
            work.link()
        tool.chmod(mode)
        tool.write_bytes(b"\x7fELF of another machine")
        with pytest.raises(ToolchainNotAvailable, match=f"{tool.name} cannot be started: Exec format error"):
            work.link()
        tool.unlink()
        with pytest.raises(ToolchainNotAvailable, match=f"the SDK lacks {tool.name}"):
            work.link()
    finally:
        tool.write_bytes(content)
        tool.chmod(mode)
    assert work.left("link") == []


@pytest.mark.compiler
def test_a_graph_may_be_named_as_a_c_identifier(finished: tuple[Work, LinkResult], tmp_path: Path):
    work, _ = finished
    dlc = tmp_path / "a.dlc"
    dlc.write_bytes(work.dlc.read_bytes().replace(NAME.encode(), NAME.replace("-", "_").encode()))
    assert graph_name(work.dlc, NAME) == NAME
    assert graph_name(dlc, NAME) == "ar1_cl8_1_of_2"
    with pytest.raises(ToolchainError, match=f"its graph is {NAME}, not ar8-cl8_1_of_2"):
        graph_name(work.dlc, "ar8-cl8_1_of_2")
