from __future__ import annotations

from pathlib import Path

import pytest

from qairt.errors import QuantizationError
from qairt.quant.calibration_text import check_length


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "mine.txt"
    path.write_bytes(b"word " * 220)  # 1,100 bytes
    return path


def test_a_text_that_no_tokenizer_could_make_long_enough(text: Path) -> None:
    with pytest.raises(QuantizationError) as error:
        check_length(text, chunks=16, length=512)
    assert str(error.value) == (
        f"{text}: the calibration text has 1,100 bytes, too few for 16 chunks of 512 tokens\n"
        "  use a longer text, or set calibration_chunks below 3"
    )


def test_a_text_shorter_than_one_chunk(text: Path) -> None:
    with pytest.raises(QuantizationError) as error:
        check_length(text, chunks=1, length=2048)
    assert error.value.remedy == "use a longer text or a smaller calibration_length"


def test_a_text_that_may_do(text: Path) -> None:
    check_length(text, chunks=2, length=512)
    check_length(text, chunks=1, length=1110)
