"""`qairt export --layout workfolder`: a finished run's artifacts in the folders of the QAIRT notebooks, as links.

    models_ar_n/ar128-cl512/onnx/                         the graph of one AR and CL, its weights and encodings
    models_ar_n/ar128-cl512/2_of_4/onnx/                  a part, as it was split
    models_ar_n/ar128-cl512/2_of_4/test_vectors/
    models_ar_n/ar128-cl512/2_of_4/sha_output/            the part with single-head attention
    models_ar_n/ar128-cl512/2_of_4/converted_model/       its float DLC
    models_ar_n/ar128-cl512/2_of_4/compiled_model/        its quantized DLC; quantized ONNX with `backend: CPU`
    artifacts/serialized_binaries/                        the context binaries

Source: the folders of the QAIRT notebooks, which have none for the single-head parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.engine.axes import value_of
from qairt.engine.stage import StageOutput
from qairt.files import link_or_copy
from qairt.graph.weights_file import write_weights
from qairt.results.exported_weights import exported_weights
from qairt.results.new_folder import new_folder, require_new
from qairt.stages.export import WEIGHTS, is_external
from qairt.stages.prepare_exports import prepare_config

if TYPE_CHECKING:
    from qairt.engine.plan.planned import PlannedItem
    from qairt.results.finished import FinishedRun

_OF_PART: Mapping[str, Mapping[str, str]] = {
    "split_model": {"onnx": "onnx", "weights": "onnx", "encodings": "onnx", "test_vectors": "test_vectors"},
    "mha_to_sha_conversion": dict.fromkeys(("onnx", "weights", "head_weights", "encodings"), "sha_output"),
    "convert": {"float_dlc": "converted_model"},
    "quantize": {"dlc": "compiled_model"},
}
"""By stage: the fields of its output, and the folder of each below the part's."""
_OF_PART_CPU = {"quantized_onnx": "compiled_model", "quantized_weights": "compiled_model"}


def export_workfolder(run: FinishedRun, directory: Path) -> list[Path]:
    """Link every artifact of a finished run into a new folder; returns the symbolic links.

    1. The weights of whole graphs are no link but a file, unless the recipe starts from an external graph: the cache
       has those of each part.
    2. A script may add and delete files in the folder: the cache is not touched.
    3. ONNX Runtime opens the graphs. `onnx.load` refuses weights behind a link of any kind; give it
       `load_external_data=False`, or replace the links by copies.

    Raises:
        CacheError: a stage has not finished; names it.
        QairtError: `directory` is not empty, or cannot be written.
    """
    require_new(directory)
    places = dict(_places(run))
    with new_folder(directory) as work:
        for target, source in places.items():
            path = work / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(source)
        if not is_external(run.env):
            _write_weights(
                run, sorted({work / _graph_folder(run, item) / "onnx" for item in run.items("prepare_exports")})
            )
    return sorted(directory.absolute() / target for target in places)


def _write_weights(run: FinishedRun, folders: Sequence[Path]) -> None:
    """The weights of the whole graphs, beside each; one file of several names."""
    first, *others = (folder / WEIGHTS for folder in folders)
    write_weights(exported_weights(run), first)
    for other in others:
        link_or_copy(first, other)


def _places(run: FinishedRun) -> Iterator[tuple[Path, Path]]:
    """Where each artifact goes, and its file."""
    stages = {planned.stage.name for planned in run.plan.stages}
    for item in run.items("prepare_exports"):
        output = run.output(item, StageOutput)
        graph = _graph_folder(run, item) / "onnx"
        for field in ("onnx", "weights", "encodings") if is_external(run.env) else ("onnx", "encodings"):
            yield placed(output, field, graph)
    parts = max(value_of(item.coord, "split") for item in run.items("split_model"))
    for stage in [stage for stage in _OF_PART if stage in stages]:
        on_cpu = stage == "quantize" and run.settings.backend == "CPU"
        for item in run.items(stage):
            output = run.output(item, StageOutput)
            part = _graph_folder(run, item) / f"{value_of(item.coord, 'split')}_of_{parts}"
            for field, folder in (_OF_PART_CPU if on_cpu else _OF_PART[stage]).items():
                yield placed(output, field, part / folder)
    if "generate_context_binary" in stages:
        for item in run.items("generate_context_binary"):
            yield placed(run.output(item, StageOutput), "binary", Path("artifacts", "serialized_binaries"))


def placed(output: StageOutput, field: str, folder: Path) -> tuple[Path, Path]:
    """Where an artifact goes below a folder, and its file."""
    file: Path = getattr(output, field)
    return folder / file.name, file


def _graph_folder(run: FinishedRun, item: PlannedItem) -> Path:
    """`models_ar_n/ar128-cl512` of an item."""
    length = value_of(item.coord, "cl", max(prepare_config(run.env).context_length))
    return Path("models_ar_n", f"ar{value_of(item.coord, 'ar')}-cl{length}")
