"""One raw file, written a tensor at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_models import save_tiny

from qairt.graph.weights_file import ALIGNMENT, external, locations_of, read, write_weights
from qairt.model.describe import describe_model
from qairt.model.parameters import Parameters, open_parameters


def parameters_of(tmp_path: Path) -> Parameters:
    save_tiny(tmp_path / "hf", "qwen2", tie_word_embeddings=True)
    return open_parameters(tmp_path / "hf", describe_model(tmp_path / "hf").config)


def test_each_parameter_stands_whole_at_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("qairt.model.parameters._BAND", 3000)  # a vocabulary in three slices
    parameters, path = parameters_of(tmp_path), tmp_path / "weights.bin"
    places = write_weights(parameters, path)
    assert list(places) == parameters.names()
    stored = path.read_bytes()
    end = 0
    for name, place in places.items():
        assert place.offset % ALIGNMENT == 0
        assert place.offset >= end
        end = place.offset + place.length
        assert stored[place.offset : end] == parameters.read(name).tobytes()
        assert place.shape == parameters.shape(name)
    assert len(stored) == end
    assert locations_of(parameters) == places
    used = np.zeros(len(stored), bool)
    for place in places.values():
        used[place.offset : place.offset + place.length] = True
    assert not np.frombuffer(stored, np.uint8)[~used].any()


class OneAtATime:
    """Parameters that count how many of their arrays are alive."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.alive = 0
        self.most = 0

    def names(self) -> list[str]:
        return self.parameters.names()

    def shape(self, name: str) -> tuple[int, ...]:
        return self.parameters.shape(name)

    def vocabulary(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        return self.parameters.vocabulary(name)

    def read(self, name: str) -> np.ndarray:
        import weakref

        values = np.array(self.parameters.read(name))
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(values, self._gone)
        return values

    def _gone(self) -> None:
        self.alive -= 1


def test_no_more_than_the_next_tensor_is_held_beside_the_last(tmp_path: Path):
    counted = OneAtATime(parameters_of(tmp_path))
    write_weights(counted, tmp_path / "weights.bin")
    assert counted.most <= 2


def test_progress_grows_and_names_what_is_written(tmp_path: Path):
    parameters = parameters_of(tmp_path)
    said: list[tuple[float, str]] = []
    write_weights(parameters, tmp_path / "weights.bin", lambda fraction, what: said.append((fraction, what)))
    assert [what for _, what in said] == parameters.names()
    assert [fraction for fraction, _ in said] == sorted(fraction for fraction, _ in said)
    assert 0 <= said[0][0] < said[-1][0] <= 1


def test_a_tensor_is_read_as_a_map_of_its_file(tmp_path: Path):
    parameters, path = parameters_of(tmp_path), tmp_path / "weights.bin"
    places = write_weights(parameters, path)
    name = "model.layers.1.mlp.down_proj.weight"
    values = read(external(name, places[name], path))
    assert isinstance(values, np.memmap)
    np.testing.assert_array_equal(values, parameters.read(name))
