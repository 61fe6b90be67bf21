"""A model package as ONNX Runtime's own reader sees it, through the C API (1.31 and newer) in a process of its own.

python ort_package.py FOLDER        {"components": {"model": {"npu": "QNNExecutionProvider"}}} or {"error": "…"}
"""

from __future__ import annotations

import json
import subprocess
import sys
from ctypes import CDLL, CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_size_t, c_uint32, c_void_p, cast
from pathlib import Path
from typing import Any

VERSION, PACKAGES = 31, 427
"""The API's version, and the place of `GetModelPackageApi` in its table, which only ever grows."""
CREATE, COMPONENTS, VARIANTS, PROVIDER = 2, 6, 8, 9
"""Functions in the table of packages."""


class Base(Structure):
    _fields_ = (("get_api", CFUNCTYPE(c_void_p, c_uint32)), ("version", CFUNCTYPE(c_char_p)))


def read_package(folder: Path) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, str(folder)], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def supported() -> bool:
    import onnxruntime

    return tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, VERSION)


def _read(folder: str) -> dict[str, Any]:
    import onnxruntime

    (path,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    library = CDLL(str(path))
    library.OrtGetApiBase.restype = POINTER(Base)
    api = cast(library.OrtGetApiBase().contents.get_api(VERSION), POINTER(c_void_p))
    message = CFUNCTYPE(c_char_p, c_void_p)(api[2])
    table = cast(CFUNCTYPE(c_void_p)(api[PACKAGES])(), POINTER(c_void_p))

    def call(place: int, *arguments: Any) -> None:
        status = CFUNCTYPE(c_void_p, *(type(each) if isinstance(each, c_void_p) else c_void_p for each in arguments))(
            table[place]
        )(*arguments)
        if status:
            raise ValueError((message(status) or b"").decode())

    def names(place: int, *of: Any) -> list[bytes]:
        found, count = POINTER(c_char_p)(), c_size_t()
        call(place, *of, cast(byref(found), c_void_p), cast(byref(count), c_void_p))
        return [found[index] for index in range(count.value)]

    def text(value: bytes) -> c_void_p:
        return cast(c_char_p(value), c_void_p)

    package = c_void_p()
    call(CREATE, text(folder.encode()), cast(byref(package), c_void_p))
    components: dict[str, dict[str, str]] = {}
    for component in names(COMPONENTS, package):
        for variant in names(VARIANTS, package, text(component)):
            provider = c_char_p()
            call(PROVIDER, package, text(component), text(variant), cast(byref(provider), c_void_p))
            components.setdefault(component.decode(), {})[variant.decode()] = (provider.value or b"").decode()
    return {"components": components}


if __name__ == "__main__":
    try:
        found = _read(sys.argv[1])
    except ValueError as error:
        found = {"error": str(error)}
    print(json.dumps(found), flush=True)
