"""The float graph of a rotated model computes what the model computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_graphs import bound, feeds, run
from tiny_models import hf_logits, save_tiny

from qairt.engine.stage import Context, Task
from qairt.errors import QuantizationError
from qairt.graph.files import external_files
from qairt.graph.weights_file import write_weights
from qairt.model.config import DecoderConfig
from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.model.rotation import Rotation
from qairt.stages.export import Export, ExportConfig, ExportedModel, ExportInput
from qairt.stages.facts import open_exported

IDS = [5, 9, 2, 77, 31, 8, 100, 64]


def exported(folder: Path, model: Path, **given: Path) -> ExportedModel:
    folder.mkdir()
    (folder / "config.json").write_text(describe_model(model).config.model_dump_json())
    (folder / "encodings").write_text("{}")
    inputs = ExportInput(model=folder / "config.json", encodings=folder / "encodings", **given)
    directory = folder / "item"
    directory.mkdir()
    context = Context(
        config=ExportConfig(),
        inputs={(): inputs},
        directory=directory,
        resume=folder / "resume",
        shared=folder / "shared",
        threads=1,
        progress=lambda fraction, what: None,
    )
    made = Export().run(Task(coord=(), sources=((),), paths={"model": model}), context)
    assert made.weights is None, "the graph only refers to its weights"
    assert {path.name for path in directory.iterdir()} == {"model.onnx", "model.encodings"}
    config = DecoderConfig.model_validate_json(inputs.model.read_text())
    weights = open_exported(model, config, inputs.changed_weights, inputs.rotation, inputs.branch_weights)
    write_weights(weights, directory / "weights.bin")
    return made


@pytest.mark.parametrize("family", ["llama", "mistral", "phi3", "qwen2", "qwen3"])
@pytest.mark.parametrize("values", [False, True], ids=["stream", "stream-and-values"])
def test_the_logits_of_a_rotated_graph(tmp_path: Path, family: str, values: bool) -> None:
    model = save_tiny(tmp_path / "hf", family, tie_word_embeddings=True)
    config = describe_model(tmp_path / "hf").config
    rotation = tmp_path / "rotation.json"
    rotation.write_text(Rotation.of(config, values=values).to_json())
    plain = exported(tmp_path / "plain", tmp_path / "hf")
    turned = exported(tmp_path / "turned", tmp_path / "hf", rotation=rotation)
    expected, found = (run(bound(made.onnx, ar=len(IDS)), feeds(config, IDS)) for made in (plain, turned))
    largest = np.abs(expected["logits"]).max()
    assert np.abs(found["logits"] - expected["logits"]).max() < 1e-4 * largest
    assert np.abs(found["logits"][0] - hf_logits(model, IDS)).max() < 1e-4 * largest
    np.testing.assert_allclose(found["past_key_1_out"], expected["past_key_1_out"], rtol=1e-3, atol=1e-3)
    assert np.allclose(found["past_value_1_out"], expected["past_value_1_out"], atol=1e-3) is not values
    assert external_files(turned.onnx) == external_files(plain.onnx) == {"weights.bin"}


def test_changed_weights_are_written_as_they_are(tmp_path: Path) -> None:
    """What a technique changed is rotated already."""
    save_tiny(tmp_path / "hf", "llama")
    parameters = open_parameters(tmp_path / "hf", describe_model(tmp_path / "hf").config)
    rotation, changed = tmp_path / "rotation.json", tmp_path / "changed"
    rotation.write_text(Rotation.of(parameters.config).to_json())
    changed.mkdir()
    np.save(changed / "model.embed_tokens.weight.npy", np.full((128, 64), 7, np.float32))
    turned = exported(tmp_path / "turned", tmp_path / "hf", rotation=rotation, changed_weights=changed)
    assert (np.fromfile(turned.onnx.with_name("weights.bin"), np.float32, 128 * 64) == 7).all()


def test_a_damaged_rotation_is_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path / "hf", "llama")
    (tmp_path / "rotation.json").write_text("{}")
    with pytest.raises(QuantizationError, match="not a rotation: hidden_size: Field required"):
        exported(tmp_path / "turned", tmp_path / "hf", rotation=tmp_path / "rotation.json")
    assert not list((tmp_path / "turned" / "item").iterdir())
