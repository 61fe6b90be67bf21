"""`qairt export --layout lora`: for each graph with LoRA branches a folder with the files and the commands of the SDK's
`qairt-lora-importer`. Its weights are float32 copies; the cache is not touched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.engine.axes import Coord
from qairt.errors import RecipeError
from qairt.files import copy_file, files_below, read_text
from qairt.recipe.configs import BASE
from qairt.results.new_folder import new_folder, require_new
from qairt.stages.concurrencies import concurrencies_of
from qairt.stages.mha_to_sha_conversion import SingleHeadPart
from qairt.stages.quantization import Quantized
from qairt.stages.quantize import QuantizeConfig
from qairt.stages.split_model import SplitPart

if TYPE_CHECKING:
    from qairt.results.finished import FinishedRun
    from qairt.runtime.stored import Floats

BRANCH_WEIGHTS = "branches.bin"


def export_importer_files(run: FinishedRun, directory: Path) -> list[Path]:
    """Write them to a new folder; returns the files.

    Raises:
        RecipeError: the recipe has no concurrencies, does not ask for encodings of each, or holds the adapters in its
            graphs.
        CacheError: an item is not built yet; names it.
        QairtError: `directory` is not empty, or cannot be written.
    """
    from qairt.graph import files
    from qairt.graph.updatable import make_updatable
    from qairt.quant.encodings import Encodings
    from qairt.quant.encodings_json import read_encodings
    from qairt.toolchain.sdk.importer_files import UseCase, write_importer_files

    require_new(directory)
    _require_own_encodings(run)
    quantized = run.only_output("quantization", Quantized)
    assert quantized.own_encodings is not None
    own = {
        name: Encodings(read_encodings(read_text(path)).activations) for name, path in quantized.own_encodings.items()
    }
    branches = _branches(run, quantized)
    settings = run.env.configs["quantize"]
    assert isinstance(settings, QuantizeConfig)
    graphs = dict(_graphs(run))
    shared = _outputs_without_branches(part for part, _ in graphs.values())
    with new_folder(directory) as work:
        for coord, (part, vectors) in graphs.items():
            model = files.load(part.onnx)
            folder = work / part.onnx.stem
            folder.mkdir()
            updatable = make_updatable(model, folder / BRANCH_WEIGHTS)
            if not updatable.weights:  # the embedding
                (folder / BRANCH_WEIGHTS).unlink()
                folder.rmdir()
                continue
            for name in files.external_files(part.onnx):
                copy_file(part.onnx.parent / name, folder / name)
            onnx = folder / part.onnx.name
            files.save(model, onnx)
            encodings = read_encodings(read_text(part.encodings))
            use_cases = {
                name: UseCase(updatable.values(branches[name]), updatable.encodings(encodings, found, shared=shared))
                for name, found in own.items()
            }
            bits = settings.at(coord)
            write_importer_files(
                onnx,
                vectors,
                use_cases,
                base=BASE,
                act_bitwidth=bits.act_bitwidth,
                bias_bitwidth=bits.bias_bitwidth,
            )
    return sorted(files_below(directory.absolute()))


def _require_own_encodings(run: FinishedRun) -> None:
    found = concurrencies_of(run.env)
    if found is None:
        raise RecipeError(
            "the recipe has no LoRA concurrencies",
            where=run.recipe.where("lora"),
            remedy="name adapters and concurrencies in lora",
        )
    if found.shape.is_switched:
        raise RecipeError(
            "with form hot_switch the graphs hold every adapter, and the importer replaces adapters",
            where=run.recipe.where("lora.form"),
            remedy="set lora.form to inputs, and run again",
        )
    if not found.settings.asks_for_own_encodings:
        raise RecipeError(
            "all concurrencies share one set of encodings, so the importer would change none",
            where=run.recipe.where("lora.quant_updatable_mode"),
            remedy="set lora.quant_updatable_mode to adapter_only or all, and run again",
        )


def _branches(run: FinishedRun, quantized: Quantized) -> dict[str, dict[str, Floats]]:
    """By concurrency, A and B of every branch."""
    from qairt.results.concurrency import float_branches
    from qairt.stages.facts import model_of, open_quantized

    parameters = open_quantized(model_of(run.env).source, run.config, None, quantized.rotation)
    return {name: dict(float_branches(run, name, parameters)) for name in quantized.own_encodings or ()}


def _graphs(run: FinishedRun) -> Iterator[tuple[Coord, tuple[SplitPart | SingleHeadPart, Path]]]:
    """The float part that goes into each DLC, and its test vectors."""
    single = {}
    if any(planned.stage.name == "mha_to_sha_conversion" for planned in run.plan.stages):
        single = {item.coord: item for item in run.items("mha_to_sha_conversion")}
    for item in run.items("split_model"):
        split = run.output(item, SplitPart)
        separated = single.get(item.coord)
        part = split if separated is None else run.output(separated, SingleHeadPart)
        yield item.coord, (part, split.test_vectors)


def _outputs_without_branches(parts: Iterator[SplitPart | SingleHeadPart]) -> Collection[str]:
    """What graphs without branches give, which no concurrency changes."""
    from qairt.model.names import is_branch_input
    from qairt.toolchain.onnx_contents import onnx_contents

    contents = [onnx_contents(part.onnx) for part in parts]
    return {
        spec.name
        for each in contents
        if not any(is_branch_input(spec.name) for spec in each.inputs)
        for spec in each.outputs
    }
