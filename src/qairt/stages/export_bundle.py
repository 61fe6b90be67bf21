"""Stage 10: one folder that a device runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from qairt.engine.axes import Coord, value_of, without
from qairt.engine.files import files_below, link_or_copy, replace_folder, sha256_of
from qairt.engine.stage import (
    Artifact,
    Batch,
    Context,
    Env,
    Estimate,
    Expansion,
    Stage,
    StageConfig,
    StageInput,
    StageOutput,
    Task,
    register_stage,
)
from qairt.stages.facts import settings_of, soc_of
from qairt.stages.split_model import part_at


class ExportBundleConfig(StageConfig):
    """`export_bundle` has no settings."""


class ExportBundleInput(StageInput):
    binary: Path | None = None
    wrappers: dict[str, Path] | None = None
    signatures: dict[str, Path] | None = None
    quantized_onnx: Path | None = None
    quantized_weights: Path | None = None
    signature: Path | None = None
    model: Path | None = None
    tokenizer: Path | None = None


class Bundle(StageOutput):
    bundle: Annotated[Path, Artifact("bundle")]
    """The folder."""
    metadata: Path


@register_stage
class ExportBundle(Stage[ExportBundleConfig, ExportBundleInput, Bundle]):
    """Put binaries in order, their `EPContext` wrappers, the tokenizer and a description of every tensor together.

    1. `metadata.yaml` names every input and output with shape, dtype, scale, offset, AR, CL and part.
    2. `SHA256SUMS` covers every file.
    """

    name = "export_bundle"
    merges = ("cl", "ar", "split")
    requires = ("quantize",)

    def expand(self, batch: Batch, env: Env) -> Expansion:
        together: dict[Coord, list[Coord]] = {}
        for coord in batch:
            together.setdefault(without(coord, self.merges), []).append(coord)
        settings = settings_of(env)
        params: dict[str, Any] = {"backend": settings.backend}
        if settings.backend == "HTP":
            soc = soc_of(env)
            params["soc"] = {"name": soc.name, "id": soc.id, "htp": soc.htp, "vtcm_mb": soc.vtcm_mb}
        return Expansion(
            [
                Task(
                    coord=coord,
                    sources=tuple(sources),
                    params=params,
                    estimate=Estimate(
                        bytes=sum(part_at(source, env).weight_bytes for source in sources) // 4,
                        seconds=2,
                        peak_ram=200_000_000,
                    ),
                )
                for coord, sources in together.items()
            ]
        )

    def run(self, task: Task, context: Context[ExportBundleConfig, ExportBundleInput]) -> Bundle:
        folder = context.directory / "bundle"
        folder.mkdir()
        graphs: list[dict[str, Any]] = []
        for coord in sorted(context.inputs, key=lambda coord: (value_of(coord, "split"), coord)):
            graphs += _add_part(context.inputs[coord], folder)
        first = next(iter(context.inputs.values()))
        metadata = folder / "metadata.yaml"
        _write_yaml(metadata, task.params | _model_facts(first, folder) | {"graphs": graphs})
        sums = "".join(f"{sha256_of(path)}  {path.relative_to(folder)}\n" for path in files_below(folder))
        (folder / "SHA256SUMS").write_text(sums)
        return Bundle(bundle=folder, metadata=metadata)

    def publish(self, items: Batch, directory: Path) -> None:
        """The bundle under its plain name, `<cache_dir>/export_bundle`; replaced as a whole.

        Large files are read-only links into the cache. Small ones, which a user may well edit, are copies.
        """
        (item,) = items.values()
        assert isinstance(item.output, Bundle)
        source = item.output.bundle
        replace_folder(directory, source, files_below(source), told_by=Path("SHA256SUMS"))


def _add_part(source: ExportBundleInput, folder: Path) -> list[dict[str, Any]]:
    """Link one part's files into the bundle; returns the description of its graphs."""
    from qairt.graph.tensors import GraphSignature

    if source.binary is not None:
        link_or_copy(source.binary, folder / source.binary.name)
        described = []
        wrappers, signatures = source.wrappers or {}, source.signatures or {}
        for name, path in sorted(signatures.items()):
            wrapper = wrappers[name]
            link_or_copy(wrapper, folder / wrapper.name)
            signature = GraphSignature.read(path)
            described.append(_describe(signature, name=name, binary=source.binary.name, wrapper=wrapper.name))
        return described
    assert source.quantized_onnx is not None
    assert source.quantized_weights is not None
    assert source.signature is not None
    signature = GraphSignature.read(source.signature)
    part = folder / f"part_{signature.part}_of_{signature.of}"
    onnx, weights = part / source.quantized_onnx.name, part / source.quantized_weights.name
    link_or_copy(source.quantized_onnx, onnx)
    if not weights.exists():
        link_or_copy(source.quantized_weights, weights)
    return [_describe(signature, name=signature.name, onnx=str(onnx.relative_to(folder)))]


def _describe(signature: Any, **files: str) -> dict[str, Any]:
    tensors = signature.model_dump(mode="json", exclude_none=True)
    return {
        **files,
        "ar": signature.ar,
        "cl": signature.cl,
        "part": signature.part,
        "of": signature.of,
        "inputs": tensors["inputs"],
        "outputs": tensors["outputs"],
    }


def _model_facts(source: ExportBundleInput, folder: Path) -> dict[str, Any]:
    """What a runtime must know of the model; the tokenizer's files are linked beside the binaries."""
    import json

    if source.model is None or source.tokenizer is None:  # a foreign graph brings none
        return {}
    for path in files_below(source.tokenizer):
        link_or_copy(path, folder / path.name)
    return {"model": json.loads(source.model.read_bytes())}


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    import yaml

    path.write_text(yaml.safe_dump(content, sort_keys=False, width=120, default_flow_style=None))
