"""The `qnn` toolchain: the HTP compiler and DLC writer in the wheel `onnxruntime-qnn`.

Every compiler call runs in its own process (`compile_child`); each artifact is read back and compared with the request.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from qairt.errors import ToolchainError
from qairt.toolchain.base import BinarySpec, GraphContents, LinkResult, PartToQuantize, QuantizedGraph
from qairt.toolchain.comparison import require_match
from qairt.toolchain.ep_context import partition_name, read_wrapper, retarget
from qairt.toolchain.onnx_contents import onnx_contents
from qairt.toolchain.progress import Progress, silent
from qairt.toolchain.provider import compile_options
from qairt.toolchain.qnn import dlc as dlc_file
from qairt.toolchain.qnn import wheel
from qairt.toolchain.qnn.graph_names import padded, rename
from qairt.toolchain.qnn.htp_config import write_configs
from qairt.toolchain.qnn.inspection import inspect_binary
from qairt.toolchain.qnn.process import place_graph, run_job
from qairt.toolchain.soc import require_weight_sharing
from qairt.toolchain.vendor_process import job_folder

PROVIDER_NAME = re.compile(r"QNNExecutionProvider_QNNExecutionProvider_\d+_1_0")
NAME_COUNT = 3
"""How often a context binary of QNN 2.51 contains each graph name."""
INTEGERS = ("int32", "uint8", "uint16")


class QnnToolchain:
    """The wheel as a `qairt.toolchain.base.Toolchain`."""

    def convert(self, onnx: Path, dlc: Path, *, encodings: Path | None = None) -> None:
        """The DLC's graph is named like the ONNX graph. `encodings` are not used: a float DLC of the wheel has none."""
        wheel.require()
        _write_dlc(onnx, onnx_contents(onnx), dlc)

    def quantize(self, part: PartToQuantize, dlc: Path) -> None:
        """The DLC holds the integer weights of the QDQ ONNX; every input and output must be an integer."""
        wheel.require()
        contents = onnx_contents(part.quantized_onnx)
        _require_integers(contents, part.quantized_onnx)
        _write_dlc(part.quantized_onnx, contents, dlc)

    def link(
        self, graphs: Sequence[QuantizedGraph], out_dir: Path, binary: BinarySpec, *, progress: Progress = silent
    ) -> LinkResult:
        """Graphs are named like `ar1_cl512_2_of_4`; in the binary each name is padded with `_` in front to the length
        that the compiler gave it (see `graph_names`). An operation that would run on the CPU is an error."""
        wheel.require()
        onnx_by_name = {graph.signature.graph_name: graph.onnx for graph in graphs}
        if not graphs or len(onnx_by_name) != len(graphs):
            raise ToolchainError(f"graphs need distinct names, got {[each.signature.graph_name for each in graphs]}")
        if len(graphs) > 1:
            require_weight_sharing(binary.soc)
        expected = {name: onnx_contents(onnx) for name, onnx in onnx_by_name.items()}
        for name, onnx in onnx_by_name.items():
            _require_integers(expected[name], onnx)
        with job_folder(out_dir) as folder:
            compiled = _compile(onnx_by_name, folder, binary, progress)
            wrappers = {name: read_wrapper(folder / f"{name}_ctx.onnx") for name in onnx_by_name}
            old_names = {name: partition_name(wrapper) for name, wrapper in wrappers.items()}
            new_names = {name: padded(name, len(old)) for name, old in old_names.items()}
            rename(compiled, {old: new_names[name] for name, old in old_names.items()}, expected=NAME_COUNT)
            inspection = inspect_binary(compiled)
            renamed = {new_names[name]: contents for name, contents in expected.items()}
            require_match(inspection, renamed, binary.soc, where=binary.file_name)
            paths = {name: out_dir / f"{name}_ctx.onnx" for name in wrappers}
            for name, wrapper in wrappers.items():
                retarget(wrapper, graph_name=new_names[name], binary_name=binary.file_name)
                paths[name].write_bytes(wrapper.SerializeToString(deterministic=True))
            os.replace(compiled, out_dir / binary.file_name)
        configs = write_configs(out_dir, binary, [graph.name for graph in inspection.graphs])
        return LinkResult(out_dir / binary.file_name, tuple(onnx_by_name), paths, configs, inspection)


def _write_dlc(onnx: Path, expected: GraphContents, dlc: Path) -> None:
    with job_folder(dlc.parent) as folder:
        source = place_graph(onnx, folder, "model")
        (folder / "dlc").mkdir()
        run_job(folder, {"action": "dlc", "graphs": [{"onnx": source}], "options": {}}, where=dlc.name)
        written = sorted((folder / "dlc").iterdir())
        if len(written) != 1 or not PROVIDER_NAME.fullmatch(written[0].stem):
            raise ToolchainError(
                f"the compiler wrote {[path.name for path in written]}, expected one DLC",
                where=dlc.name,
                remedy="the graph does not run on the NPU as a whole",
            )
        (compiled,) = written
        name = padded(expected.name or dlc.stem, len(compiled.stem))
        rename(compiled, {compiled.stem: name})
        dlc_file.fix_times(compiled)
        found = dlc_file.inspect(compiled)
        missing = [spec.name for spec in (*expected.inputs, *expected.outputs) if spec.name not in found.names]
        if missing or found.graphs[0].name != name:
            raise ToolchainError(
                f"the DLC lacks {', '.join(missing) or name}", where=dlc.name, remedy="see the item's log"
            )
        os.replace(compiled, dlc)


def _compile(onnx_by_name: Mapping[str, Path], folder: Path, binary: BinarySpec, progress: Progress) -> Path:
    """Compile in `folder`; returns the binary, whose graphs still have the provider's names."""
    options = compile_options(binary.soc, binary.optimization_level, extended_udma=binary.extended_udma)
    if len(onnx_by_name) > 1:
        options["enable_htp_weight_sharing"] = "1"
    run_job(
        folder,
        {
            "action": "link",
            "graphs": [
                {"onnx": place_graph(onnx, folder, name, short_names=True), "context": f"{name}_ctx.onnx"}
                for name, onnx in onnx_by_name.items()
            ],
            "options": options,
        },
        where=binary.file_name,
        progress=progress,
    )
    binaries = sorted(folder.glob("*.bin"))
    if len(binaries) != 1:
        raise ToolchainError(
            f"the compiler wrote {[path.name for path in binaries]}, expected one binary", where=binary.file_name
        )
    return binaries[0]


def _require_integers(graph: GraphContents, path: Path) -> None:
    floats = [spec.name for spec in (*graph.inputs, *graph.outputs) if spec.dtype not in INTEGERS]
    if floats:
        raise ToolchainError(
            f"these inputs or outputs are not integers: {', '.join(floats)}",
            where=path.name,
            remedy="quantize the graph first (stage quantize)",
        )
