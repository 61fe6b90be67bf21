"""The `sdk` toolchain: `qairt-converter`, `qairt-quantizer` and `qnn-context-binary-generator` of a QAIRT SDK.

Each tool runs in its own folder, in an environment built here. Its artifact is opened and compared with the request
before it is moved into place: a tool that reports success and wrote nothing has failed.

Source: the commands are those of the QAIRT notebooks. None of this has been run with a real SDK here: see the README.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qairt.errors import ToolchainError
from qairt.files import link_or_copy
from qairt.graph.tensors import GraphSignature
from qairt.toolchain.base import (
    BinarySpec,
    GraphContents,
    Inspection,
    LinkResult,
    PartToQuantize,
    QuantizedGraph,
)
from qairt.toolchain.comparison import require_match
from qairt.toolchain.ep_context import write_wrapper
from qairt.toolchain.onnx_contents import onnx_contents
from qairt.toolchain.progress import Progress, silent
from qairt.toolchain.qnn import dlc as dlc_file
from qairt.toolchain.qnn.htp_config import MEM_TYPE, write_configs
from qairt.toolchain.qnn.inspection import inspect
from qairt.toolchain.qnn.process import place_graph
from qairt.toolchain.sdk import commands
from qairt.toolchain.sdk.inputs import write_inputs
from qairt.toolchain.sdk.install import BACKEND, CONVERTER, GENERATOR, MODEL, NEWEST, QUANTIZER, Sdk
from qairt.toolchain.sdk.process import require_written, run_tool
from qairt.toolchain.soc import require_weight_sharing
from qairt.toolchain.vendor_process import job_folder

OUTPUT_FOLDER = "output"
"""The generator's default."""
SCALE_TOLERANCE = 1e-4
"""The tools may recompute a scale from a range."""
MAX_SHARE_OF_FLOAT = 0.75
"""Quantized weights take at most half the bytes of float weights; the rest is for their descriptions."""


@dataclass(frozen=True)
class SdkToolchain:
    """An SDK as a `qairt.toolchain.base.Toolchain`."""

    sdk: Sdk
    """From `qairt.toolchain.sdk.open.open_sdk`."""
    threads: int = 1
    """The most that a tool may use."""

    def convert(self, onnx: Path, dlc: Path, *, encodings: Path | None = None) -> None:
        """The DLC's graph is named like the file; the DLC holds the encodings, for `quantize`."""
        if encodings is None:
            raise ValueError("the SDK's converter needs encodings")
        with job_folder(dlc.parent, ".sdk-") as folder:
            network = place_graph(onnx, folder, onnx.stem)
            link_or_copy(encodings, folder / encodings.name)
            contents = onnx_contents(onnx)
            arguments = commands.converter(network, encodings.name, contents.inputs, dlc.name)
            self._run(CONVERTER, arguments, folder, dlc.name)
            written = folder / dlc.name
            require_written(written, CONVERTER, where=dlc.name)
            _require_graph(written, dlc.stem, contents)
            os.replace(written, dlc)

    def quantize(self, part: PartToQuantize, dlc: Path) -> None:
        """Quantize the DLC of `convert` by the encodings in it; its graph keeps its name. Newer converters already
        quantize tensors with an encoding, and leave the rest to this.

        Also fails when the weights take as many bytes as in float.
        """
        if part.float_dlc is None or part.test_vectors is None:
            raise ValueError("the SDK's quantizer needs a float DLC and test vectors")
        with job_folder(dlc.parent, ".sdk-") as folder:
            link_or_copy(part.float_dlc, folder / part.float_dlc.name)
            inputs = write_inputs(folder, part.test_vectors, part.signature.inputs)
            arguments = commands.quantizer(
                part.float_dlc.name,
                inputs.name,
                dlc.name,
                act_bitwidth=part.act_bitwidth,
                bias_bitwidth=part.bias_bitwidth,
            )
            self._run(QUANTIZER, arguments, folder, dlc.name)
            written = folder / dlc.name
            require_written(written, QUANTIZER, where=dlc.name)
            _require_graph(written, part.signature.name, _contents(part.signature))
            _require_quantized(written, part.float_onnx, where=dlc.name)
            os.replace(written, dlc)

    def link(
        self, graphs: Sequence[QuantizedGraph], out_dir: Path, binary: BinarySpec, *, progress: Progress = silent
    ) -> LinkResult:
        """Compile the DLCs of `quantize`; graphs have the names that `graph_name` returns.

        Also raises `ToolchainNotAvailable` when the wheel, which reads binaries, is missing.
        """
        if len(graphs) > 1:
            require_weight_sharing(binary.soc)
        dlcs = [graph.dlc for graph in graphs if graph.dlc is not None]
        signatures = [graph.signature for graph in graphs]
        names = [graph_name(dlc, each.name) for dlc, each in zip(dlcs, signatures, strict=True)]
        expected = {name: _contents(each) for name, each in zip(names, signatures, strict=True)}
        with job_folder(out_dir, ".sdk-") as folder:
            for dlc in dlcs:
                link_or_copy(dlc, folder / dlc.name)
            configs = write_configs(folder, binary, names, for_sdk=True)
            progress(0.0, f"compiling {len(graphs)} graphs with the SDK, which reports no progress")
            written = self._generate(folder, configs[-1].name, [dlc.name for dlc in dlcs], binary.file_name)
            inspection = _read_back(written, expected, binary)
            wrappers = {graph.name: folder / f"{graph.name}_ctx.onnx" for graph in inspection.graphs}
            for graph in inspection.graphs:
                write_wrapper(
                    wrappers[graph.name],
                    graph,
                    binary_name=binary.file_name,
                    sdk_version=inspection.sdk_version,
                )
            for path in (*configs, *wrappers.values(), written):  # the binary last: once it is there, all is complete
                os.replace(path, out_dir / path.name)
        return LinkResult(
            out_dir / binary.file_name,
            tuple(names),
            {name: out_dir / path.name for name, path in wrappers.items()},
            [out_dir / path.name for path in configs],
            inspection,
        )

    def _generate(self, folder: Path, config: str, dlcs: Sequence[str], binary_name: str) -> Path:
        arguments = ["--backend", BACKEND, "--model", MODEL, "--input_output_tensor_mem_type", MEM_TYPE]
        arguments += ["--config_file", config, "--binary_file", Path(binary_name).stem, "--dlc_path", ",".join(dlcs)]
        self._run(GENERATOR, arguments, folder, binary_name)
        written = folder / OUTPUT_FOLDER / binary_name
        require_written(written, GENERATOR, where=binary_name)
        return written

    def _run(self, tool: str, arguments: Sequence[str], folder: Path, where: str) -> None:
        run_tool(self.sdk, tool, arguments, folder, where=where, threads=self.threads)


def graph_name(dlc: Path, name: str) -> str:
    """The name of a DLC's graph: `name`, or `name` with `-` replaced by `_`, as in a C identifier.

    Raises:
        ToolchainError: the DLC contains neither.
    """
    found = dlc_file.inspect(dlc)
    for candidate in (name, name.replace("-", "_")):
        if candidate in found.names:
            return candidate
    raise ToolchainError(
        f"the DLC does not match the request: its graph is {found.graphs[0].name}, not {name}",
        where=dlc.name,
        remedy="see the item's log; another version of the SDK may name graphs differently",
    )


def _read_back(binary: Path, expected: Mapping[str, GraphContents], spec: BinarySpec) -> Inspection:
    """Read the binary and compare it with the request."""
    try:
        inspection = inspect(binary)
    except ToolchainError as error:
        newest = ".".join(map(str, NEWEST))
        raise ToolchainError(
            f"the output of {GENERATOR} {error.what.removeprefix('it ')}",
            where=binary.name,
            remedy=f"binaries are read with the wheel's library, which supports SDK versions up to {newest}",
        ) from error
    require_match(inspection, expected, spec.soc, where=spec.file_name, scale_tolerance=SCALE_TOLERANCE)
    return inspection


def _contents(signature: GraphSignature) -> GraphContents:
    return GraphContents(signature.name, signature.inputs, signature.outputs)


def _require_graph(dlc: Path, name: str, expected: GraphContents) -> None:
    """A DLC names its graph and every input and output; more cannot be read without the vendor's library."""
    graph_name(dlc, name)
    found = dlc_file.inspect(dlc)
    missing = [spec.name for spec in (*expected.inputs, *expected.outputs) if spec.name not in found.names]
    if missing:
        raise ToolchainError(
            f"the DLC does not match the request: it has no {', '.join(missing[:5])}",
            where=dlc.name,
            remedy="see the item's log; another version of the SDK may name tensors differently",
        )


def _require_quantized(dlc: Path, float_onnx: Path, *, where: str) -> None:
    from qairt.graph.files import load

    tensors = (value.const_value for value in load(float_onnx).graph.initializers.values())
    in_float = sum(tensor.nbytes for tensor in tensors if tensor is not None)
    found = dlc_file.parameter_bytes(dlc)
    if found > MAX_SHARE_OF_FLOAT * in_float:
        raise ToolchainError(
            f"its weights take {found:,} bytes, against {in_float:,} in float: they were not quantized",
            where=where,
            remedy="see the item's log for what the quantizer did",
        )
