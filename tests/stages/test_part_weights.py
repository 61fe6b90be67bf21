"""Graphs of one part share one file of weights, whenever they are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tiny_models import save_tiny

from qairt.files import link_or_copy
from qairt.graph.build import build_decoder
from qairt.graph.split import cut
from qairt.graph.weights_file import ALIGNMENT, ExportedWeights, locations_of, read
from qairt.model.describe import describe_model
from qairt.model.parts import Part
from qairt.stages.facts import open_exported
from qairt.stages.part_weights import write_part_weights

Make = Callable[[str], ir.Model]


@pytest.fixture
def weights(tmp_path: Path) -> ExportedWeights:
    save_tiny(tmp_path / "hf", "llama")
    return open_exported(tmp_path / "hf", describe_model(tmp_path / "hf").config, None, None, None)


@pytest.fixture
def make(tmp_path: Path, weights: ExportedWeights) -> Make:
    """Makes the second part, the first layer, in the folder of an item below `stage`."""
    config = describe_model(tmp_path / "hf").config
    part = Part(index=2, of=3, first_layer=0, last_layer=1, has_embedding=False, has_head=False, weight_bytes=1)

    def made(folder: str) -> ir.Model:
        path = tmp_path / "stage" / folder / "weights.bin"
        path.parent.mkdir(parents=True)
        graph = cut(build_decoder(config, locations_of(weights), path), part, name="part")
        write_part_weights(graph, weights, path, tmp_path / "stage" / "shared", lambda fraction, name: None)
        return graph

    return made


def held(graph: ir.Model) -> dict[str, ir.ExternalTensor]:
    values = {name: value.const_value for name, value in graph.graph.initializers.items()}
    return {name: tensor for name, tensor in values.items() if isinstance(tensor, ir.ExternalTensor)}


def inode(tmp_path: Path, folder: str) -> int:
    return (tmp_path / "stage" / folder / "weights.bin").stat().st_ino


def test_a_part_holds_its_own_weights_alone(make: Make, weights: ExportedWeights, tmp_path: Path) -> None:
    tensors = held(make("one"))
    assert tensors.keys() == {name for name in weights.names() if ".layers.0." in name}
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(read(tensor), weights.read(name))
    size = (tmp_path / "stage" / "one" / "weights.bin").stat().st_size
    assert size < sum(tensor.nbytes + ALIGNMENT for tensor in tensors.values())


def test_the_second_graph_links_the_file_of_the_first_in_its_place_or_before(make: Make, tmp_path: Path) -> None:
    make(".making-1234-x/content")
    made = make("second")
    assert inode(tmp_path, "second") == inode(tmp_path, ".making-1234-x/content")
    (tmp_path / "stage" / ".making-1234-x" / "content").rename(tmp_path / "stage" / "first")
    make("third")
    assert inode(tmp_path, "third") == inode(tmp_path, "first")
    assert {Path(tensor.path).parent.name for tensor in held(made).values()} == {"second"}


@pytest.mark.parametrize("change", ["another model", "another file", "let go"])
def test_a_file_that_is_not_the_one_is_not_linked(
    make: Make, weights: ExportedWeights, tmp_path: Path, change: str
) -> None:
    make("first")
    file = tmp_path / "stage" / "first" / "weights.bin"
    if change == "another model":
        (model,) = weights.files
        model.write_bytes(model.read_bytes())
    elif change == "another file":
        link_or_copy(file, tmp_path / "kept")
        file.unlink()
        file.write_bytes((tmp_path / "kept").read_bytes()[::-1])
    else:
        file.unlink()
    graph = make("second")
    if change == "another model":
        assert inode(tmp_path, "second") != inode(tmp_path, "first")
    for name, tensor in held(graph).items():
        np.testing.assert_array_equal(read(tensor), weights.read(name))
