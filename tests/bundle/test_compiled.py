from __future__ import annotations

from pathlib import Path

import pytest

from qairt.bundle.compiled import compiled
from qairt.toolchain.base import GraphContents, Inspection


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("____________ar1_cl512_2_of_4", (1, 512, 2, 4)),
        ("xxxxxxxxxxxx_ar1_cl512_2_of_4", (1, 512, 2, 4)),
        ("ar128-cl4096_3_of_9", (128, 4096, 3, 9)),
        ("prompt_ar128_cl4096_1_of_3", (128, 4096, 1, 3)),
        ("token_ar1_cl4096_3_of_3", (1, 4096, 3, 3)),
        ("QNNExecutionProvider_QNNExecutionProvider_123_1_0", None),
        ("ar1_cl512_2_of_4_prefill", None),
    ],
)
def test_a_graphs_name_tells_its_place(name: str, place: tuple[int, ...] | None):
    """Ours with padding in front, the SDK toolchain's, and those of other tools."""
    inspection = Inspection("context binary", (GraphContents(name, (), ()),))
    (graph,) = compiled("a.bin", Path("a.bin"), inspection).graphs
    found = graph.signature
    assert (None if found is None else (found.ar, found.cl, found.part, found.of)) == place
    assert graph.plain_name == name.lstrip("_").removeprefix("xxxxxxxxxxxx_")
