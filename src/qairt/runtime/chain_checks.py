"""What parts must be to form a chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qairt.errors import GraphError
from qairt.graph.tensors import GraphSignature, TensorSpec
from qairt.model.inputs import COMPUTED, COS, INPUT_IDS, MASK, SIN
from qairt.model.names import LOGITS, PAST, POOLED, is_branch_input
from qairt.runtime.parts import PartGraph


def require_chain(parts_by_ar: Mapping[int, Sequence[PartGraph]]) -> None:
    """
    Raises:
        GraphError: parts are missing, have different context lengths, or pass on a tensor with another encoding than
            the next one expects; names the graph.
    """
    if not any(parts_by_ar.values()):
        raise GraphError("there are no parts to run", remedy="run the pipeline up to the stage quantize")
    first = next(parts[0].signature for parts in parts_by_ar.values() if parts)
    for ar, parts in parts_by_ar.items():
        signatures = [part.signature for part in parts]
        if [signature.part for signature in signatures] != list(range(1, first.of + 1)):
            found = ", ".join(str(signature.part) for signature in signatures) or "none"
            raise GraphError(
                f"AR {ar} has parts {found}, expected 1 to {first.of} in order",
                remedy="run the pipeline up to the stage quantize",
            )
        for signature in signatures:
            _require_lengths(signature, ar=ar, first=first)
        _require_flow(signatures)


def _require_lengths(signature: GraphSignature, *, ar: int, first: GraphSignature) -> None:
    if (signature.ar, signature.cl, signature.of) != (ar, first.cl, first.of):
        raise GraphError(
            f"the graph has AR {signature.ar}, CL {signature.cl}, {signature.of} parts; "
            f"expected AR {ar}, CL {first.cl}, {first.of} parts",
            where=signature.name,
            remedy="chain parts of one context length and one num_splits",
        )


def _require_flow(signatures: Sequence[GraphSignature]) -> None:
    """Every input is computed by the runtime, is in the cache, or is the output of an earlier part."""
    known: dict[str, TensorSpec] = {}
    for signature in signatures:
        for spec in signature.inputs:
            if PAST.match(spec.name) or is_branch_input(spec.name):
                continue
            if spec.name in COMPUTED:
                known.setdefault(spec.name, spec)
            if spec.name not in known:
                raise GraphError(
                    f"no earlier part has an output for its input {spec.name}",
                    where=signature.name,
                    remedy=f"supported: hidden states, {', '.join((INPUT_IDS, MASK, COS, SIN))}, past_key_…_in, "
                    "past_value_…_in",
                )
            if known[spec.name] != spec:
                raise GraphError(
                    f"its input {spec.name} is {_format(spec)}, "
                    f"but the earlier part outputs {_format(known[spec.name])}",
                    where=signature.name,
                    remedy="quantize all parts with the encodings of one calibration",
                )
        known |= {spec.name: spec for spec in signature.outputs}
    if not {LOGITS, POOLED} & {spec.name for spec in signatures[-1].outputs}:
        raise GraphError("the last part has no output logits", where=signatures[-1].name, remedy="pass all parts")


def _format(spec: TensorSpec) -> str:
    text = f"{spec.dtype} {list(spec.shape)}"
    return text if spec.scale is None else f"{text} with scale {spec.scale} and offset {spec.offset}"
