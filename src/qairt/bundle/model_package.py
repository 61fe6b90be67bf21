"""An ONNX Runtime model package around an `ort` bundle: one component with one variant, which is the bundle.

    manifest.json
    models/model/component.json         for which execution provider each variant is
    models/model/npu/                   the bundle; `cpu` with backend CPU

Source: the packages that `olive generate-model-package` writes (Olive at ee6f40f), and ONNX Runtime 1.31, whose reader
refuses any other key. onnxruntime-genai 0.16 from PyPI is built without packages: it runs the bundle in the variant's
folder.
"""

from __future__ import annotations

import json
from pathlib import Path

from qairt.files import read_json
from qairt.toolchain.genie.config import value_at
from qairt.version import __version__

MANIFEST, COMPONENT = "manifest.json", "component.json"
_SCHEMA = "1.0"
_MODEL = "model"
_PLACE = f"models/{_MODEL}"
_PROVIDERS = {"npu": {"ep": "QNNExecutionProvider", "device": "npu"}, "cpu": {"ep": "CPUExecutionProvider"}}


def variant_folder(package: Path, *, on_npu: bool) -> Path:
    """Where the bundle is."""
    return package / _PLACE / ("npu" if on_npu else "cpu")


def write_package_files(package: Path, name: str, *, on_npu: bool) -> None:
    """Describe the bundle that is in `variant_folder`.

    Args:
        name: of the model.
    """
    variant = variant_folder(package, on_npu=on_npu).name
    component = {"component_name": _MODEL, "variants": {variant: _PROVIDERS[variant]}}
    manifest = {
        "schema_version": _SCHEMA,
        "package_name": name,
        "components": {_MODEL: _PLACE},
        "additional_metadata": {"producer": {"tool": "qairt", "tool_version": __version__}},
    }
    (package / _PLACE / COMPONENT).write_text(json.dumps(component, indent=2) + "\n", encoding="utf-8")
    (package / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def packaged_bundle(package: Path) -> Path | None:
    """The folder of the only variant; None if it is no package of one variant."""
    try:
        places = value_at(read_json(package / MANIFEST), "components")
        place = next(iter(places.values())) if isinstance(places, dict) and len(places) == 1 else None
        variants = value_at(read_json(package / str(place) / COMPONENT), "variants")
    except (OSError, ValueError):
        return None
    return package / str(place) / next(iter(variants)) if isinstance(variants, dict) and len(variants) == 1 else None
