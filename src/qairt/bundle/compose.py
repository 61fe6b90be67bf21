"""Composing a bundle, for the stage `export_bundle` and for `qairt export`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.bundle import genai_config as genai
from qairt.bundle import geniex, metadata, run_scripts
from qairt.bundle.adapter_files import (
    FOLDER,
    STAGE,
    branch_inputs,
    concurrency_values,
    write_genie_values,
    write_onnx_adapters,
)
from qairt.bundle.chat_prompt import between_turns, genie_affixes, prompt_affixes
from qairt.bundle.checksums import write_checksums
from qairt.bundle.contents import GENIE_FORMS, BinaryPart, Contents, Format, OnnxPart, PlacedGraph
from qairt.bundle.genie_config import GenieFiles, GenieLora, genie_config
from qairt.bundle.genie_embedding import embedding_script, genie_embedding_config
from qairt.bundle.geniex_reader import METADATA
from qairt.bundle.windows import require_one_kind
from qairt.errors import CacheError, RecipeError
from qairt.files import copy_file, read_json, sha256_of
from qairt.graph.tensors import GraphSignature
from qairt.toolchain.genie.config import GENIE_CONFIG, HTP_EXTENSIONS
from qairt.toolchain.qnn.htp_config import backend_settings

if TYPE_CHECKING:
    from qairt.model.config import DecoderConfig
    from qairt.model.tokenizer import Tokenizer
    from qairt.runtime.stored import Array

CopyFile = Callable[[Path, Path], None]
"""Copies or links the first path to the second."""
PROGRAMS: Mapping[Format, str] = {"genie": "Genie", "geniex": "GenieX", "ort": "onnxruntime-genai"}
TOKENIZER_SETTINGS = "tokenizer_config.json"


def compose(
    contents: Contents,
    folder: Path,
    form: Format | None,
    *,
    place: CopyFile,
    recorded: Mapping[Path, str] | None = None,
) -> Path:
    """Write a bundle into the empty `folder`; returns its `metadata.yaml`.

    1. Files are copied under flat names; quantized ONNX goes into one folder per part.
    2. The runtime's configuration is computed from the model and the graphs.
    3. `metadata.yaml` lists every tensor, `SHA256SUMS` every file.
    4. The chat template is in `tokenizer_config.json` too, where most programs look for it.
    5. For GenieX, graphs get names that it reads, in copies of the binaries.

    Args:
        form: `genie`, `geniex` or `ort`; None for the parts alone, if the model is unknown.
        place: copies or links a file.
        recorded: SHA-256 of the contents' files. What is placed must match, so that the checksums never cover damage;
            a file without a digest is not the model's, and is left out. None: everything is taken as it is.

    Raises:
        CacheError: a file differs from its digest; names it.
        RecipeError: these contents do not suit the format.
        ModelError: the model lacks a property that the runtime needs, or has one that it does not support.
    """
    has_model = contents.model is not None and contents.tokenizer is not None
    require_format(form, has_binaries=contents.soc is not None, has_model=has_model)
    if recorded is not None:
        require_stored(contents.description_files(), recorded)
    placed: dict[str, Path] = {}

    def place_once(source: Path, target: Path) -> None:
        place(source, target)
        placed[target.relative_to(folder).as_posix()] = source

    graphs = _place_parts(contents, folder, place_once, wrapped=form not in GENIE_FORMS)
    if form == "geniex":
        graphs = _name_for_geniex(folder, graphs, placed, recorded)
    if contents.tokenizer is not None:
        for path in sorted(contents.tokenizer.iterdir()):
            if recorded is not None and path not in recorded:
                continue
            if path.name == TOKENIZER_SETTINGS:
                _write_tokenizer_settings(path, folder, contents, recorded)
            else:
                place_once(path, folder / path.name)
    signatures = [graph.signature for graph in graphs]
    inputs = branch_inputs(signatures)
    values = concurrency_values(contents.adapters, inputs) if contents.adapters is not None else {}
    facts: dict[str, object] = {"backend": "CPU" if contents.soc is None else "HTP"}
    if form is not None and form in GENIE_FORMS:
        facts |= {"format": form, "config": GENIE_CONFIG, "run": run_scripts.GENIE_SCRIPT}
        _write_genie(contents, graphs, folder, values)
        if form == "geniex":
            _write_json(folder / METADATA, geniex.geniex_metadata(contents.geniex_id, graphs))
    elif form == "ort":
        facts |= {"format": form, "config": genai.NAME, "run": run_scripts.ORT_SCRIPT}
        _write_ort(contents, graphs, folder, values)
    facts["context_length"] = max(graph.signature.cl for graph in graphs)
    facts["binaries"] = list(dict.fromkeys(graph.binary for graph in graphs if graph.binary is not None))
    if values:
        facts["concurrencies"] = [*values]
        for name in values if form not in GENIE_FORMS else ():
            write_onnx_adapters(folder, name, values[name], signatures)
    if contents.soc is not None:
        soc = contents.soc
        facts["soc"] = {"name": soc.name, "id": soc.id, "htp": soc.htp, "vtcm_mb": soc.vtcm_mb}
    if contents.model is not None:
        facts["model"] = read_json(contents.model)
    if contents.already_quantized is not None:
        facts["weights_already_quantized"] = contents.already_quantized
    path = folder / metadata.NAME
    metadata.write_metadata(path, facts | {"graphs": [_description(graph) for graph in graphs]})
    digests = write_checksums(folder)
    if recorded is not None:
        for name, source in placed.items():
            _require_same(source, digests[name], recorded)
    return path


def require_stored(paths: Iterable[Path], recorded: Mapping[Path, str]) -> None:
    """
    Raises:
        CacheError: the content of one of `paths` is not what was recorded; names it.
    """
    for path in paths:
        _require_same(path, sha256_of(path), recorded)


def _require_same(path: Path, digest: str, recorded: Mapping[Path, str]) -> None:
    if digest != recorded.get(path):
        raise _differs(path)


def _differs(path: Path) -> CacheError:
    return CacheError(
        "its content is not what was stored, so no bundle was made from it",
        where=str(path),
        remedy="run again: it is set aside and rebuilt",
    )


def require_format(form: Format | None, *, has_binaries: bool, has_model: bool) -> None:
    """
    Raises:
        RecipeError: a Genie bundle has no binaries, or a runtime configuration has no model.
    """
    if form in GENIE_FORMS and not has_binaries:
        raise RecipeError(
            f"{PROGRAMS[form]} needs context binaries, and backend CPU compiles none",
            where="stages.export_bundle.format",
            remedy="set format to ort, or backend to HTP",
        )
    if form is not None and not has_model:
        raise RecipeError(
            f"a bundle for {PROGRAMS[form]} needs the model's configuration and "
            "tokenizer, and an external ONNX graph has neither",
            where="stages.export_bundle.format",
            remedy="remove format: the bundle then has the parts and metadata.yaml",
        )


def require_runnable(config: DecoderConfig, form: Format, *, context_size: int) -> None:
    """Check that the program that a bundle is for can run the model.

    Args:
        context_size: the longest context length of the graphs.

    Raises:
        ModelError: it cannot, or the model lacks information that it needs.
    """
    if form == "ort":
        require_one_kind(config, context_size=context_size, program=PROGRAMS[form])
    else:
        genie_config(config, context_size=context_size, files=GenieFiles(["part"]))


def _place_parts(contents: Contents, folder: Path, place: CopyFile, *, wrapped: bool) -> list[PlacedGraph]:
    graphs = []
    for part in contents.parts:
        graphs += _binary(part, folder, place, wrapped) if isinstance(part, BinaryPart) else _onnx(part, folder, place)
    return graphs


def _binary(part: BinaryPart, folder: Path, place: CopyFile, wrapped: bool) -> list[PlacedGraph]:
    place(part.binary, folder / part.binary.name)
    graphs = []
    for name, path in sorted(part.signatures.items()):
        file = part.wrappers[name].name if wrapped else ""
        if wrapped:
            place(part.wrappers[name], folder / file)
        graphs.append(PlacedGraph(name, GraphSignature.read(path), file, part.binary.name))
    return graphs


def _onnx(part: OnnxPart, folder: Path, place: CopyFile) -> list[PlacedGraph]:
    signature = GraphSignature.read(part.signature)
    target = Path(f"part_{signature.part}_of_{signature.of}")
    place(part.onnx, folder / target / part.onnx.name)
    if not (folder / target / part.weights.name).exists():
        place(part.weights, folder / target / part.weights.name)
    return [PlacedGraph(signature.name, signature, (target / part.onnx.name).as_posix(), None)]


def _name_for_geniex(
    folder: Path, graphs: list[PlacedGraph], placed: dict[str, Path], recorded: Mapping[Path, str] | None
) -> list[PlacedGraph]:
    """Replace every placed binary by a copy with other graph names; the copy's source is checked here."""
    for name in dict.fromkeys(graph.binary for graph in graphs):
        assert name is not None
        source = placed.pop(name)
        (folder / name).unlink()
        copy_file(source, folder / name)
        if recorded is not None and sha256_of(folder / name) != recorded.get(source):
            raise _differs(source)
        geniex.name_for_geniex(folder / name)
    return geniex.changed_names(graphs)


def _write_tokenizer_settings(
    path: Path, folder: Path, contents: Contents, recorded: Mapping[Path, str] | None
) -> None:
    """`tokenizer_config.json` with the chat template, which `tokenizer_files` keeps in a file of its own."""
    if recorded is not None:
        require_stored([path], recorded)
    template = _tokenizer(contents).chat_template
    stated = {} if template is None else {"chat_template": template}
    text = json.dumps(read_json(path) | stated, indent=2, ensure_ascii=False, sort_keys=True)
    (folder / path.name).write_bytes(f"{text}\n".encode())


def _description(graph: PlacedGraph) -> dict[str, object]:
    signature = graph.signature
    files = {"onnx": graph.file} if graph.binary is None else {"binary": graph.binary, "wrapper": graph.file}
    tensors = signature.model_dump(mode="json", exclude_none=True)
    return {
        "name": graph.name,
        **{kind: file for kind, file in files.items() if file},
        **{key: tensors[key] for key in ("ar", "cl", "part", "of", "inputs", "outputs")},
    }


def _write_genie(
    contents: Contents, graphs: list[PlacedGraph], folder: Path, concurrencies: Mapping[str, Mapping[str, Array]]
) -> None:
    config, soc = contents.config(), contents.soc
    assert config is not None
    assert soc is not None
    binaries = list(dict.fromkeys(graph.binary or "" for graph in graphs))
    size, shared = max(graph.signature.cl for graph in graphs), len(graphs) > len(binaries)
    _write_json(folder / HTP_EXTENSIONS, backend_settings(soc, shares_weights=shared))
    if config.pooling is not None:
        files = GenieFiles(binaries, extensions=HTP_EXTENSIONS)
        found = genie_embedding_config(config, _tokenizer(contents), context_size=size, files=files)
        _write_json(folder / GENIE_CONFIG, found)
        (folder / run_scripts.GENIE_SCRIPT).write_text(embedding_script(htp=soc.htp), encoding="utf-8")
        return
    affixes, adds_bos = genie_affixes(_tokenizer(contents), config.bos_token_id)
    lora = None
    if contents.adapters is not None:
        inputs = branch_inputs(graph.signature for graph in graphs)
        strengths = {each.concurrency: each.strengths for each in contents.adapters.concurrencies if each.strengths}
        lora = GenieLora({} if strengths else {name: f"{FOLDER}/{name}" for name in concurrencies}, strengths)
        for name, path in lora.folders.items():
            write_genie_values(folder / path, concurrencies[name], inputs)
    _write_json(
        folder / GENIE_CONFIG,
        genie_config(
            config,
            context_size=size,
            files=GenieFiles(binaries, extensions=HTP_EXTENSIONS, lora=lora),
            adds_bos=adds_bos,
        ),
    )
    (folder / run_scripts.GENIE_SCRIPT).write_text(
        run_scripts.genie_script(
            affixes,
            htp=soc.htp,
            between=between_turns(_tokenizer(contents), affixes, config.eos_token_ids),
            adds_bos=adds_bos,
            concurrencies={name: lora.argument(name) for name in lora.names} if lora else {},
        ),
        encoding="utf-8",
    )


def _write_ort(
    contents: Contents, graphs: list[PlacedGraph], folder: Path, concurrencies: Mapping[str, Mapping[str, Array]]
) -> None:
    from qairt.bundle.genai_graphs import write_adapter_stage, write_logits, write_positions

    config, on_npu = contents.config(), contents.soc is not None
    assert config is not None
    tokenizer = _tokenizer(contents)
    size = max(graph.signature.cl for graph in graphs)
    chains: dict[int, list[PlacedGraph]] = {}
    for graph in graphs:
        if graph.signature.cl == size:
            chains.setdefault(graph.signature.ar, []).append(graph)
    found = genai.genai_config(
        config,
        chains,
        context_size=size,
        pad_token=genai.pad_token(tokenizer, config),
        on_npu=on_npu,
        branches=[*branch_inputs(graph.signature for graph in graphs)],
    )
    for name, values in concurrencies.items():
        write_adapter_stage(folder / FOLDER / f"{name}{STAGE}", values)
    _write_json(folder / genai.NAME, found)
    specs = {spec.name: spec for graph in chains[1] for spec in (*graph.signature.inputs, *graph.signature.outputs)}
    mask, cos, sin = (specs[name] for name in genai.COMPUTED)
    write_positions(folder / genai.POSITIONS, config, mask=mask, cos=cos, sin=sin)
    write_logits(folder / genai.LOGITS, specs["logits"])
    script = run_scripts.ort_script(
        prompt_affixes(tokenizer), context_size=size, window=max(chains), on_npu=on_npu, concurrencies=[*concurrencies]
    )
    (folder / run_scripts.ORT_SCRIPT).write_text(script, encoding="utf-8")


def _tokenizer(contents: Contents) -> Tokenizer:
    from qairt.model.tokenizer import Tokenizer

    assert contents.tokenizer is not None
    return Tokenizer.from_directory(contents.tokenizer)


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
