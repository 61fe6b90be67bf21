"""The checks of `qairt doctor`: packages, the compiler, the machine."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qairt.amounts import size
from qairt.child_process import ending_with_parent, python_command, python_environment

Status = Literal["ok", "missing", "warning"]


@dataclass(frozen=True)
class Probe:
    """One finding about this machine, and what it is needed for."""

    name: str
    status: Status
    found: str
    enables: str
    remedy: str | None = None
    toolchain: bool = False
    """If it is missing, a toolchain is."""


_NEEDED = {
    "torch": "calibration and the float reference",
    "onnx": "reading and writing graphs",
    "onnx-ir": "building and rewriting graphs",
    "onnxruntime": "running quantized graphs (backend CPU, generate --target cpu)",
    "tokenizers": "text in and out",
    "gguf": "models in GGUF files",
    "safetensors": "models in Hugging Face folders",
}
_EVAL = "pip install 'qairt[eval]'"
_OPTIONAL = {
    "lm-eval": ("mmlu, hellaswag and the other tasks of lm-eval in qairt evaluate", _EVAL),
    "datasets": ("wikitext and other data sets of the Hugging Face hub in qairt evaluate", _EVAL),
    "huggingface-hub": ("models by Hugging Face id", "pip install 'qairt[hub]', or give a folder or a GGUF file"),
    "nvidia-ml-py": ("GPU memory and load in reports", "pip install 'qairt[gpu]'"),
}
_COMPILER_TIMEOUT_S = 60


def packages() -> list[Probe]:
    """Installed versions, from package metadata; nothing is imported."""
    found = [Probe("Python", "ok", f"{platform.python_version()} ({sys.executable})", "qairt")]
    for name, enables in _NEEDED.items():
        version = _version(name)
        if version:
            found.append(Probe(name, "ok", version, enables))
        else:
            remedy = f"pip install {name}"
            found.append(Probe(name, "missing", "not installed", enables, remedy, name == "onnxruntime"))
    for name, (enables, remedy) in _OPTIONAL.items():
        version = _version(name)
        found.append(
            Probe(name, "ok" if version else "warning", version or "not installed (optional)", enables, remedy)
        )
    return [probe if probe.status != "ok" else _without_remedy(probe) for probe in found]


def compiler() -> Probe:
    """Call the compiler once, in a child: it can crash its process."""
    enables = "float and quantized DLCs, context binaries, the x86 emulator (backend HTP)"
    name = "HTP compiler"
    script = (
        "import json, sys\n"
        "from qairt.errors import QairtError\n"
        "from qairt.toolchain.qnn.handshake import handshake\n"
        "try:\n    print('\\n' + json.dumps(handshake()))\n"
        "except QairtError as error:\n    print('\\n' + json.dumps({'error': error.as_dict()}))\n"
    )
    try:
        child = subprocess.run(
            python_command("-c", script),
            env=python_environment(),
            preexec_fn=ending_with_parent(),
            capture_output=True,
            text=True,
            timeout=_COMPILER_TIMEOUT_S,
            check=False,
        )
        answer = json.loads(child.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        reason = f"no answer within {_COMPILER_TIMEOUT_S} s"
        return Probe(name, "missing", reason, enables, "run `qairt doctor` again on an idle machine", True)
    except (IndexError, ValueError):
        last = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        return Probe(
            name, "missing", f"its process failed: {last}", enables, "pip install onnxruntime-qnn==2.7.0", True
        )
    if "error" in answer:
        error = answer["error"]
        return Probe(name, "missing", error["what"], enables, error["remedy"], True)
    versions = ", ".join(f"{key} {answer[key]}" for key in ("onnxruntime", "onnxruntime-qnn") if key in answer)
    sdk = f", QNN {answer['qnn_sdk']}" if "qnn_sdk" in answer else ""
    fixed = answer.get("fixed_addresses", "yes")
    if fixed != "yes":
        return Probe(name, "warning", f"works: {versions}{sdk}", enables, f"reproducible output: {fixed}")
    return Probe(name, "ok", f"works: {versions}{sdk}", enables)


def sdk(root: Path | None, *, needed: bool) -> list[Probe]:
    """The QAIRT SDK in a folder: its version, missing parts, and whether its converter starts.

    Args:
        root: the folder in `sdk_root` or `$QAIRT_SDK_ROOT`.
        needed: the recipe has a stage with `toolchain: sdk`.
    """
    from qairt.errors import ToolchainNotAvailable
    from qairt.toolchain.sdk.findings import converter_fault, findings
    from qairt.toolchain.sdk.open import open_sdk

    name, enables = "QAIRT SDK", "stages with toolchain: sdk"
    if root is None and not needed:
        return [
            Probe(name, "warning", "not configured (optional)", enables, "set sdk_root or QAIRT_SDK_ROOT to its folder")
        ]
    missing: Status = "missing" if needed else "warning"
    try:
        opened = open_sdk(root)
    except ToolchainNotAvailable as error:
        return [Probe(name, missing, error.what, enables, error.remedy, needed)]
    found = findings(opened)
    if all(each.status == "warning" for each in found):
        found += [fault] if (fault := converter_fault(opened)) else []
    probed = [Probe(name, "ok", f"{opened.version or 'unknown version'} in {opened.root}", enables)]
    for each in found:
        lacking = each.status == "error"
        status = missing if lacking else "warning"
        probed.append(Probe(name, status, each.text, enables, each.remedy, lacking and needed))
    return probed


def gpu() -> Probe:
    """An NVIDIA GPU, as reported by nvidia-smi."""
    enables = "quantization and evaluation, if torch can use it; optional"
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Probe("GPU", "ok", "none", enables)
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return Probe("GPU", "ok", "none that the driver can use", enables)
    return Probe("GPU", "ok", "; ".join(answer.splitlines()) or "none", enables)


def nsight_systems() -> Probe:
    """NVIDIA's profiler, used by the stage `nsys`."""
    tool = shutil.which("nsys")
    enables = "the optional stage nsys"
    if tool is None:
        return Probe("nsys", "warning", "not installed (optional)", enables, "install Nsight Systems (the CLI alone)")
    return Probe("nsys", "ok", tool, enables)


def import_name() -> Probe:
    """Whether another package has the import name `qairt`, as the vendor's SDK wheel does."""
    from importlib import metadata

    import qairt

    here = Path(str(qairt.__file__)).parent
    owners = sorted(set(metadata.packages_distributions().get("qairt", [])) - {"qairt"})
    # A package of the same name later on the path is hidden by this one; an earlier one would have been imported.
    others = [str(folder) for folder in _packages_of_same_name() if not folder.samefile(here)]
    enables = "`import qairt` means this package"
    if owners or others:
        who = ", ".join([*owners, *others])
        remedy = "install them in separate virtual environments"
        return Probe("import name qairt", "warning", f"also the name of {who}; {here} is used", enables, remedy)
    return Probe("import name qairt", "ok", str(here), enables)


def machine(folder: Path) -> list[Probe]:
    """Cores, RAM and the disk of `folder`."""
    import psutil

    from qairt.machine import available_cores, available_memory

    total, free = psutil.virtual_memory().total, available_memory()
    disk = shutil.disk_usage(existing(folder))
    return [
        Probe("cores", "ok", str(available_cores()), "items at a time"),
        Probe("RAM", "ok", f"{size(free)} free, {size(total)} in total", "items at a time"),
        Probe("disk", "ok", f"{size(disk.free)} free at {existing(folder)}", "the cache"),
    ]


def platform_probe() -> Probe:
    """Whether the vendor's compiler supports this platform."""
    system, kind = platform.system(), platform.machine()
    found = f"{system} {kind}"
    if system == "Linux" and kind in ("x86_64", "AMD64"):
        return Probe("platform", "ok", found, "backend HTP and CPU")
    return Probe(
        "platform",
        "warning",
        found,
        "backend CPU",
        "the compiler is tested on x86-64 Linux; use backend: CPU elsewhere",
    )


def existing(folder: Path) -> Path:
    """`folder` or its nearest parent that exists."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _packages_of_same_name() -> list[Path]:
    found = []
    for entry in dict.fromkeys(os.path.abspath(path or ".") for path in sys.path):
        package, module = Path(entry) / "qairt", Path(entry) / "qairt.py"
        found += [package] if (package / "__init__.py").is_file() else []
        found += [module] if module.is_file() else []
    return found


def _version(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _without_remedy(probe: Probe) -> Probe:
    return Probe(probe.name, probe.status, probe.found, probe.enables)
