from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import CL, TinyModel

from qairt.bundle.contents import Contents
from qairt.bundle.genie_config import GenieFiles, GenieHost, genie_config
from qairt.bundle.genie_rope import positional_encoding
from qairt.errors import ModelError
from qairt.model.config import DecoderConfig
from qairt.model.rope import rotary
from qairt.runtime.stored import to_real, to_stored

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.5,
    "high_freq_factor": 6.0,
    "original_max_position_embeddings": 1024,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.0, 1.1, 1.2, 1.4, 1.8, 2.0, 2.5],
    "long_factor": [1.1, 1.3, 1.7, 2.5, 4.0, 8.0, 16.0, 32.0],
    "attention_factor": 1.0,
}
FACTORS = [1.0, 1.0, 1.5, 2.0, 4.0, 8.0, 8.0, 8.5]


def words(tiny: TinyModel, scaling: dict[str, Any], **changes: Any) -> dict[str, Any]:
    config = tiny.config.model_copy(update={"rope_scaling": scaling, **changes})
    return positional_encoding(config, context_size=CL)["rope-scaling"]


def test_llama3_has_every_factor(tiny: TinyModel):
    assert words(tiny, LLAMA3) == {
        "rope-type": "llama3",
        "factor": 32.0,
        "low-freq-factor": 1.5,
        "high-freq-factor": 6.0,
        "original-max-position-embeddings": 1024,
    }


def test_yarn_states_what_its_attention_factor_is_more_than_usual(tiny: TinyModel):
    usual = words(tiny, YARN)
    assert usual["attn-factor"] == pytest.approx(1.0)
    assert (usual["dim"], usual["beta-fast"], usual["beta-slow"]) == (16, 32, 1)
    assert words(tiny, YARN | {"attention_factor": 1.0})["attn-factor"] == pytest.approx(1 / (0.1 * np.log(4) + 1))


def test_yarn_without_rounding_is_refused(tiny: TinyModel):
    with pytest.raises(ModelError) as caught:
        words(tiny, YARN | {"truncate": False})
    assert str(caught.value) == (
        "rope_scaling.truncate: yarn rotary scaling without rounded limits (truncate: false)\n"
        "  Genie does not support it; `qairt export RECIPE DIR --format ort` computes it on the device"
    )


def test_any_frequencies_are_divided_one_by_one(tiny: TinyModel):
    found = words(tiny, {"rope_type": "frequency_factors", "factors": FACTORS})
    assert found["rope-type"] == "longrope"
    assert found["factor"] == 1.0
    np.testing.assert_allclose(found["long-factor"], FACTORS, rtol=1e-6)
    assert found["short-factor"] == found["long-factor"]


@pytest.mark.compiler
@pytest.mark.parametrize(
    ("theta", "scaling"),
    [
        (10000.0, None),
        (3.75, None),
        (500000.0, {"rope_type": "linear", "factor": 4.0, "original_max_position_embeddings": 64}),
        (10000.0, LLAMA3),
        (10000.0, {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 16}),
        (10000.0, YARN | {"attention_factor": 1.0}),
        (1e6, YARN | {"factor": 3.0, "beta_fast": 16.5, "beta_slow": 0.7, "attention_factor": 0.9}),
        (10000.0, {"rope_type": "frequency_factors", "factors": FACTORS}),
        (10000.0, LONGROPE | {"original_max_position_embeddings": CL // 2}),
        (10000.0, LONGROPE | {"original_max_position_embeddings": 2 * CL}),
    ],
    ids=["plain", "fraction", "linear", "llama3", "dynamic", "yarn", "yarn-betas", "factors", "long", "short"],
)
def test_genie_computes_the_same_angles(
    tiny: TinyModel, single: Contents, tmp_path: Path, theta: float, scaling: dict[str, Any] | None
):
    """Genie writes the table that it looks positions up in; it must be ours, to the rounding of 16 bits."""
    config = tiny.config.model_copy(update={"rope_theta": theta, "rope_scaling": scaling})
    found = genie_tables(config, single, tmp_path)
    expected = rotary(config, np.arange(CL), length=CL)
    specs = {spec.name: spec for spec in tiny.parts[1][1].signature.inputs}
    for name, table in zip(("position_ids_cos", "position_ids_sin"), expected, strict=True):
        spec = specs[name]
        ours = to_real(to_stored(table, spec), spec)
        theirs = to_real(found[name].reshape(-1, ours.shape[1])[:CL], spec)
        np.testing.assert_allclose(theirs, ours, atol=1.01 * spec.scale)


def genie_tables(config: DecoderConfig, single: Contents, folder: Path) -> dict[str, np.ndarray]:
    """What a dialog of this configuration writes for debugging: the stored cosines and sines of every position."""
    from qairt.toolchain.genie.dialog import Dialog

    assert single.tokenizer is not None
    made = genie_config(
        config,
        context_size=CL,
        files=GenieFiles([str(part.binary) for part in single.parts], str(single.tokenizer / "tokenizer.json")),
        host=GenieHost(threads=1, cpu_mask="0x1", poll=False),
    )
    dump = folder / "dump"
    dump.mkdir()
    made["dialog"]["debug"] = {"path": str(dump), "dump-tensors": True, "dump-start": 0, "dump-end": 1}
    with Dialog(made) as dialog:
        list(dialog.query("ab", max_tokens=1))
    return {
        name: np.fromfile(next(dump.rglob(f"{name}.u16.dat")), np.uint16)
        for name in ("position_ids_cos", "position_ids_sin")
    }
