"""Arrays over a pipe."""

import io

import numpy as np
import pytest

from qairt.errors import GraphError, ToolchainError
from qairt.runtime.pipe_protocol import receive, send, send_error


def test_arrays_arrive_as_they_were_sent():
    pipe = io.BytesIO()
    sent = {
        "ids": np.arange(6, dtype=np.int32).reshape(1, 6),
        "strided": np.arange(24, dtype=np.uint16).reshape(2, 3, 4)[:, :, ::2],
        "newlines": np.full((3, 1), 10, np.uint8),
    }
    send(pipe, sent)
    send(pipe, {})
    pipe.seek(0)
    received = receive(pipe)
    assert list(received) == list(sent)
    for name, array in sent.items():
        np.testing.assert_array_equal(received[name], array)
        assert received[name].dtype == array.dtype
    assert receive(pipe) == {}


def test_an_error_is_raised_on_the_other_side():
    pipe = io.BytesIO()
    send_error(pipe, GraphError("no kernel", where="node 7", remedy="another op"))
    pipe.seek(0)
    with pytest.raises(ToolchainError) as caught:
        receive(pipe)
    assert str(caught.value) == "node 7: no kernel\n  another op"


@pytest.mark.parametrize("kept", [0, 10, -1])
def test_a_message_that_breaks_off_is_the_end(kept):
    pipe = io.BytesIO()
    send(pipe, {"x": np.zeros(100, np.float32)})
    with pytest.raises(EOFError):
        receive(io.BytesIO(pipe.getvalue()[:kept]))
