"""What is not a chain."""

from __future__ import annotations

import pytest

from qairt.errors import GraphError
from qairt.graph.tensors import GraphSignature
from qairt.runtime.chain import PartChain
from qairt.runtime.parts import PartGraph


def changed(part: PartGraph, **changes) -> PartGraph:
    return PartGraph(part.onnx, GraphSignature.model_validate(part.signature.model_dump() | changes))


def test_no_parts(config):
    with pytest.raises(GraphError, match="there are no parts to run\n  run the pipeline up to the stage quantize"):
        PartChain({}, config)


def test_a_part_is_missing(float_parts, config):
    with pytest.raises(GraphError, match="AR 8 has parts 1, 3, expected 1 to 3 in order"):
        PartChain({1: float_parts[1], 8: [float_parts[8][0], float_parts[8][2]]}, config)


def test_a_part_of_another_context_length(float_parts, config):
    other = [*float_parts[1][:2], changed(float_parts[1][2], cl=64)]
    with pytest.raises(GraphError) as caught:
        PartChain({1: other}, config)
    assert str(caught.value) == (
        "ar1-cl32_3_of_3: the graph has AR 1, CL 64, 3 parts; expected AR 1, CL 32, 3 parts\n"
        "  chain parts of one context length and one num_splits"
    )


def test_parts_filed_under_another_ar(float_parts, config):
    with pytest.raises(GraphError, match="ar8-cl32_1_of_3: the graph has AR 8, CL 32, 3 parts; expected AR 4"):
        PartChain({4: float_parts[8]}, config)


def test_a_tensor_that_is_handed_on_in_another_encoding(quantized_parts, config):
    first = quantized_parts[1][0]
    scaled = first.signature.outputs[0].model_copy(update={"scale": 0.5, "offset": -7})
    parts = [changed(first, outputs=(scaled,)), *quantized_parts[1][1:]]
    with pytest.raises(GraphError) as caught:
        PartChain({1: parts}, config)
    assert caught.value.where == "ar1-cl32_2_of_3"
    assert caught.value.what.endswith("but the earlier part outputs uint16 [1, 1, 64] with scale 0.5 and offset -7")
    assert caught.value.remedy == "quantize all parts with the encodings of one calibration"


def test_an_input_nobody_gives(float_parts, config):
    second = float_parts[1][1]
    strange = second.signature.inputs[0].model_copy(update={"name": "alpha"})
    parts = [float_parts[1][0], changed(second, inputs=(*second.signature.inputs, strange)), float_parts[1][2]]
    with pytest.raises(GraphError, match="ar1-cl32_2_of_3: no earlier part has an output for its input alpha"):
        PartChain({1: parts}, config)
