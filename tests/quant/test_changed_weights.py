"""Changed weights come back bit by bit, and take what their bits take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qairt.errors import QuantizationError
from qairt.quant.changed_weights import ChangedWeights, keep_changed
from qairt.quant.encodings import BlockScales, Encoding

RANDOM = np.random.default_rng(0)


def symmetric(bits: int, channels: int, block: int | None = None, rows: int = 0) -> Encoding:
    scale = RANDOM.uniform(0.001, 0.1, channels).astype(np.float32)
    offset = np.full(channels, -(1 << bits - 1))
    blocks = None
    if block is not None:
        blocks = BlockScales(block, RANDOM.integers(1, 17, (rows // block, channels)).astype(np.uint8))
    return Encoding(bits, True, scale, offset, axis=1, blocks=blocks)


GRIDS = {
    "LPBQ": symmetric(4, 48, 32, 96),
    "4 bits": symmetric(4, 48),
    "8 bits": symmetric(8, 48),
    "asymmetric": Encoding(8, False, np.float32([0.03]), np.array([-77])),
}


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("band", [1 << 22, 1000], ids=["whole", "bands"])
def test_what_lies_on_a_grid_is_kept_as_its_integers(
    kind: str, band: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qairt.quant.changed_weights._BAND", band)
    encoding = GRIDS[kind]
    values = encoding.nearest(RANDOM.normal(0, 0.4, (96, 48)).astype(np.float32))
    file = keep_changed(tmp_path, "a.weight", values, encoding)
    found = ChangedWeights(tmp_path)
    assert found["a.weight"].tobytes() == np.where(values == 0, np.float32(0), values).tobytes()
    assert file.stat().st_size < 96 * 48 * encoding.bitwidth / 8 + 1600
    assert list(found) == ["a.weight"]
    assert "a.weight" in found
    assert "b.weight" not in found
    assert found.get("b.weight") is None


def test_an_odd_number_of_values(tmp_path: Path) -> None:
    encoding = symmetric(4, 3)
    values = encoding.nearest(RANDOM.normal(0, 0.2, (5, 3)).astype(np.float32))
    keep_changed(tmp_path, "a", values, encoding)
    np.testing.assert_array_equal(ChangedWeights(tmp_path)["a"], values)


def test_what_lies_beside_the_grid_is_kept_in_float32(tmp_path: Path) -> None:
    values = RANDOM.normal(0, 0.4, (96, 48)).astype(np.float32)
    keep_changed(tmp_path, "a", values, GRIDS["LPBQ"])
    assert ChangedWeights(tmp_path)["a"].tobytes() == values.tobytes()


def test_what_earlier_versions_wrote_is_read(tmp_path: Path) -> None:
    values = RANDOM.normal(size=(4, 6)).astype(np.float32)
    np.save(tmp_path / "a.weight.npy", values)
    found = ChangedWeights(tmp_path)
    assert found["a.weight"].tobytes() == values.tobytes()
    assert (list(found), len(found)) == (["a.weight"], 1)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"no weights")
    with pytest.raises(QuantizationError, match=r"a\.safetensors: it holds no changed weight .*\n.*cache verify"):
        ChangedWeights(tmp_path)["a"]
