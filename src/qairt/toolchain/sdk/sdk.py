"""The `sdk` toolchain: the tools of a QAIRT SDK, `qairt-converter`, `qairt-quantizer`, `qnn-context-binary-generator`.

Each command is run in a folder of its own, with an environment made here. What it wrote is opened and compared with
what was asked, and only then takes its place: a tool that says it is done and wrote nothing has failed.

Source: the commands are those of seed 001. None of this has been run with an SDK here: see the README.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.errors import ToolchainError
from qairt.files import link_or_copy
from qairt.graph.tensors import GraphSignature
from qairt.toolchain import cpu
from qairt.toolchain.base import GraphContents, Inspection, LinkResult
from qairt.toolchain.comparison import require_as_asked
from qairt.toolchain.progress import Progress, silent
from qairt.toolchain.qnn import dlc as qnn_dlc
from qairt.toolchain.qnn.config import MEM_TYPE, write_configs
from qairt.toolchain.sdk.inputs import write_inputs
from qairt.toolchain.sdk.place import BACKEND, CONVERTER, GENERATOR, MODEL, NEWEST, QUANTIZER, Sdk
from qairt.toolchain.sdk.process import require_made, run_tool
from qairt.toolchain.vendor_process import workplace

if TYPE_CHECKING:
    from qairt.toolchain.soc import Soc

LAYOUT = "NONTRIVIAL"
"""Of every input: not an image's, so that no axis is moved."""
OUTPUT = "output"
"""Where the generator writes unless told otherwise."""
SCALE_TOLERANCE = 1e-4
"""The tools may compute a scale anew from a range."""
MOST_OF_FLOAT = 0.75
"""Quantized weights take at most half of what they take in float; the rest is for what describes them."""


def convert(sdk: Sdk, onnx: Path, dlc: Path, *, encodings: Path, threads: int = 1) -> None:
    """Write a float ONNX as a DLC that knows the encodings.

    Args:
        sdk: from `qairt.toolchain.sdk.open.open_sdk`.
        onnx: float32, static shapes; its weights beside it.
        dlc: the file to write; its graph is named like the file.
        encodings: AIMET's file, version 1.0.0.
        threads: how many the converter may use.

    Raises:
        ToolchainNotAvailable: the converter cannot be started.
        ToolchainError: it failed, or the DLC does not hold what was asked.
    """
    from qairt.toolchain.qnn.process import place_graph

    asked = cpu.inspect(onnx).graphs[0]
    with workplace(dlc.parent, ".sdk-") as folder:
        network = place_graph(onnx, folder, onnx.stem)
        overrides = folder / encodings.name
        link_or_copy(encodings, overrides)
        arguments = ["--input_network", network, "--quantization_overrides", overrides.name]
        for spec in asked.inputs:
            arguments += ["--source_model_input_layout", spec.name, LAYOUT]
        run_tool(sdk, CONVERTER, [*arguments, "-o", dlc.name], folder, where=dlc.name, threads=threads)
        made = folder / dlc.name
        require_made(made, CONVERTER, where=dlc.name)
        _require_graph(made, dlc.stem, asked)
        os.replace(made, dlc)


def quantize(
    sdk: Sdk,
    float_dlc: Path,
    dlc: Path,
    *,
    onnx: Path,
    signature: GraphSignature,
    vectors: Path,
    act_bitwidth: int,
    bias_bitwidth: int,
    threads: int = 1,
) -> None:
    """Quantize a DLC that `convert` made, by the encodings in it. Newer converters quantize where there is an encoding,
    and leave the rest to this.

    Args:
        sdk: as for `convert`.
        float_dlc: from `convert`.
        onnx: what that was made from, its weights beside it.
        dlc: the file to write; its graph keeps its name.
        signature: what the quantized part takes and gives.
        vectors: test vectors of the part, from which the quantizer gets its inputs.
        act_bitwidth: of activations without an encoding.
        bias_bitwidth: of biases.
        threads: how many the quantizer may use.

    Raises:
        ToolchainNotAvailable: the quantizer cannot be started.
        ToolchainError: it failed, the DLC does not hold what was asked, or its weights take as much space as in float.
    """
    with workplace(dlc.parent, ".sdk-") as folder:
        link_or_copy(float_dlc, folder / float_dlc.name)
        listed = write_inputs(folder, vectors, signature.inputs)
        arguments = ["--input_dlc", float_dlc.name, "--input_list", listed.name, "--output_dlc", dlc.name]
        arguments += ["--act_bitwidth", str(act_bitwidth), "--bias_bitwidth", str(bias_bitwidth)]
        run_tool(sdk, QUANTIZER, arguments, folder, where=dlc.name, threads=threads)
        made = folder / dlc.name
        require_made(made, QUANTIZER, where=dlc.name)
        _require_graph(made, signature.name, _contents(signature))
        in_float, found = _weight_bytes(onnx), qnn_dlc.parameter_bytes(made)
        if found > MOST_OF_FLOAT * in_float:
            raise ToolchainError(
                f"its weights take {found:,} bytes, and {in_float:,} in float: they were not quantized",
                where=dlc.name,
                remedy="see the item's log for what the quantizer did",
            )
        os.replace(made, dlc)


def link(
    sdk: Sdk,
    graphs: Sequence[tuple[Path, GraphSignature]],
    out_dir: Path,
    *,
    binary_name: str,
    soc: Soc,
    optimization_level: int,
    progress: Progress = silent,
    threads: int = 1,
) -> LinkResult:
    """Compile quantized DLCs for a chip into one context binary that holds shared weights once.

    Args:
        sdk: as for `convert`.
        graphs: DLCs that `quantize` made, and what each takes and gives.
        out_dir: where the binary, the wrappers (`NAME_ctx.onnx`) and the configuration are written.
        binary_name: e.g. `weight_sharing_model_2_of_4.serialized.bin`; its graphs are called as `graph_name` says.
        soc: the chip.
        optimization_level: 1 … 3.
        progress: told that it began: the generator tells nothing meanwhile.
        threads: how many the generator may use.

    Raises:
        ToolchainNotAvailable: the generator cannot be started, or the wheel that reads binaries is missing.
        RecipeError: several graphs for a chip without weight sharing.
        ToolchainError: it failed, or the binary's graphs, tensors or encodings are not those asked for.
    """
    from qairt.toolchain.ep_context import write_wrapper
    from qairt.toolchain.soc import require_weight_sharing

    if len(graphs) > 1:
        require_weight_sharing(soc)
    asked = {graph_name(path, signature.name): _contents(signature) for path, signature in graphs}
    with workplace(out_dir, ".sdk-") as folder:
        for path, _ in graphs:
            link_or_copy(path, folder / path.name)
        configs = write_configs(
            folder,
            binary_name,
            graph_names=list(asked),
            soc=soc,
            optimization_level=optimization_level,
            weights_are_shared=len(graphs) > 1,
            for_sdk=True,
        )
        arguments = ["--backend", BACKEND, "--model", MODEL, "--input_output_tensor_mem_type", MEM_TYPE]
        arguments += ["--config_file", configs[-1].name, "--binary_file", Path(binary_name).stem]
        arguments += ["--dlc_path", ",".join(path.name for path, _ in graphs)]
        progress(0.0, f"compiling {len(graphs)} graphs with the SDK, which tells nothing meanwhile")
        run_tool(sdk, GENERATOR, arguments, folder, where=binary_name, threads=threads)
        made = folder / OUTPUT / binary_name
        require_made(made, GENERATOR, where=binary_name)
        inspection = _read_back(made)
        require_as_asked(inspection, asked, soc, where=binary_name, scale_tolerance=SCALE_TOLERANCE)
        wrappers = {graph.name: folder / f"{graph.name}_ctx.onnx" for graph in inspection.graphs}
        for graph in inspection.graphs:
            write_wrapper(wrappers[graph.name], graph, binary_name=binary_name, sdk_version=inspection.sdk_version)
        for path in (*configs, *wrappers.values(), made):  # the binary last: what is there is complete
            os.replace(path, out_dir / path.name)
    return LinkResult(
        out_dir / binary_name,
        {name: out_dir / path.name for name, path in wrappers.items()},
        [out_dir / path.name for path in configs],
        inspection,
    )


def graph_name(dlc: Path, name: str) -> str:
    """How a DLC calls its graph: `name`, or `name` with `_` where a C identifier has no `-`.

    Raises:
        ToolchainError: neither stands in it.
    """
    found = qnn_dlc.inspect(dlc)
    for each in (name, name.replace("-", "_")):
        if each in found.names:
            return each
    raise ToolchainError(
        f"the DLC is not what was asked for: its graph is {found.graphs[0].name}, not {name}",
        where=dlc.name,
        remedy="see the item's log; another version of the SDK may name graphs differently",
    )


def _weight_bytes(onnx: Path) -> int:
    from qairt.graph.files import load

    tensors = (value.const_value for value in load(onnx).graph.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def _read_back(binary: Path) -> Inspection:
    from qairt.toolchain.qnn import qnn

    try:
        return qnn.inspect(binary)
    except ToolchainError as error:
        newest = ".".join(map(str, NEWEST))
        raise ToolchainError(
            f"what {GENERATOR} wrote {error.what.removeprefix('it ')}",
            where=binary.name,
            remedy=f"binaries are read with the wheel's library, which knows SDK versions up to {newest}",
        ) from error


def _contents(signature: GraphSignature) -> GraphContents:
    return GraphContents(signature.name, signature.inputs, signature.outputs)


def _require_graph(dlc: Path, name: str, asked: GraphContents) -> None:
    """A DLC names its graph and every input and output; more cannot be read without the vendor's library."""
    graph_name(dlc, name)
    found = qnn_dlc.inspect(dlc)
    missing = [spec.name for spec in (*asked.inputs, *asked.outputs) if spec.name not in found.names]
    if missing:
        raise ToolchainError(
            f"the DLC is not what was asked for: it has no {', '.join(missing[:5])}",
            where=dlc.name,
            remedy="see the item's log; another version of the SDK may name things differently",
        )
