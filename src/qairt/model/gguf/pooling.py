"""What makes a vector of a text, in the header of an embedding model's GGUF file."""

from __future__ import annotations

from qairt.errors import ModelError
from qairt.model.gguf.fields import GgufFields
from qairt.model.gguf.file import GgufHeader
from qairt.model.layout import DENSE
from qairt.model.notes import Notes

POOLINGS = {1: "mean", 3: "last"}
"""As llama.cpp numbers them -> as `Pooling` names them."""
DENSES = {DENSE.format(0): "dense_2", DENSE.format(1): "dense_3"}
"""Linears behind the pooling, ours -> llama.cpp's, which bear the places that they have in `modules.json`."""
_REMEDY = "use the Hugging Face model that it was converted from, or another GGUF file"


def gguf_pooling(
    header: GgufHeader, fields: GgufFields, architecture: str, notes: Notes, *, embeds: bool
) -> dict[str, object]:
    """The field `pooling` of `DecoderConfig`; nothing for a model that generates text.

    Args:
        notes: gets what the file does not say.
        embeds: the architecture is one of embedding models only.

    Raises:
        ModelError: another pooling, or none where one is needed.
    """
    stated = fields.get("pooling_type") or 0
    if not stated and not embeds:
        return {}
    if stated not in POOLINGS:
        raise ModelError(
            f"{architecture}.pooling_type is {stated}: only the mean (1) and the last token (3) are supported",
            where=str(header.path),
            remedy=_REMEDY,
        )
    dense = [
        {"outputs": fields.integer(f"{name}_feat_out")}
        for name in DENSES.values()
        if embeds and f"{name}.weight" in header.tensors
    ]
    notes.tell("the vector is divided by its length, as llama.cpp does; a GGUF file does not say it")
    if embeds and not dense:
        notes.tell(
            "the file has no linears behind the pooling (dense_2, dense_3), so its vectors are not those of"
            " sentence-transformers; convert_hf_to_gguf.py keeps them with --sentence-transformers-dense-modules"
        )
    return {"pooling": {"kind": POOLINGS[int(stated)], "dense": dense, "normalize": True}}
