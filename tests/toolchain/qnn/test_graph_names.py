"""Names replaced in place, and counted."""

from __future__ import annotations

import pytest

from qairt.errors import ToolchainError
from qairt.toolchain.qnn.graph_names import padded, rename

OLD = ("Provider_111_1_0", "Provider_222_1_0")


def test_a_name_gets_padding_in_front():
    assert padded("ar1_cl512_2_of_4", 20) == "____ar1_cl512_2_of_4"
    with pytest.raises(ToolchainError, match=r"^the graph name 'ar1_cl512_2_of_4' has more than 10 characters"):
        padded("ar1_cl512_2_of_4", 10)


def test_every_place_is_replaced_and_nothing_else(tmp_path):
    path = tmp_path / "binary"
    path.write_bytes(b"\0".join(name.encode() for name in (*OLD, "kept", *OLD, *OLD)))
    names = {OLD[0]: padded("ar1", 16), OLD[1]: padded("ar128", 16)}
    assert rename(path, names, expected=3) == {"_____________ar1": 3, "___________ar128": 3}
    new = [name.encode() for name in names.values()]
    assert path.read_bytes() == b"\0".join((*new, b"kept", *new, *new))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (OLD[0] * 3 + OLD[1] * 2, r"it contains its graph names \[2, 3\] times, not 3 times each"),
        (OLD[0] * 2 + OLD[1] * 2, r"it contains its graph names \[2, 2\] times, not 3 times each"),
        ("", r"it contains its graph names \[0, 0\] times, not 3 times each"),
        ("_____________ar1" + (OLD[0] + OLD[1]) * 3, "it already contains the new name '_____________ar1'"),
    ],
)
def test_another_count_than_expected_changes_nothing(tmp_path, content, told):
    path = tmp_path / "binary"
    path.write_bytes(b"-" + content.encode())
    names = {OLD[0]: padded("ar1", 16), OLD[1]: padded("ar128", 16)}
    with pytest.raises(ToolchainError, match=rf"^binary: {told}"):
        rename(path, names, expected=3)
    assert path.read_bytes() == b"-" + content.encode()
