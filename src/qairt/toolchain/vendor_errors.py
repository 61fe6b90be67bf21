"""The errors of the vendor's tools and runtime: what each means and what to do about it.

Sources: the codes are those of the QNN API reference ("Error codes"); causes and remedies are those that users and the
vendor's engineers report in public issues. The first matching row explains a line, and the topmost matching row a log:
the root of a failure is usually followed by codes that only pass it on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class VendorError:
    """One row: the symptom, its cause and the remedy."""

    name: str
    """The vendor's code, or a short name of the phrase."""
    pattern: re.Pattern[str]
    cause: str
    remedy: str


@dataclass(frozen=True)
class Explanation:
    """A line of a log and the row that explains it."""

    line: str
    error: VendorError


def _phrase(name: str, pattern: str, cause: str, remedy: str) -> VendorError:
    return VendorError(name, re.compile(pattern, re.IGNORECASE), cause, remedy)


def _code(number: int, cause: str, remedy: str) -> VendorError:
    """Match a code only where the line calls it one: `err 1002`, `error = 0x3ea`, `failed to create device: 14001`."""
    prefix = (
        r"(?:\b(?:err(?:or)?|code|status|failed|returned|handle)\b[^\n\w]{0,4}(?:code|with|err(?:or)?|=|:|\s)*"
        r"|\bfailed to [a-z ]{1,40}:\s*)"
    )
    pattern = rf"{prefix}(?:{number}|0x0*{number:x})\b"
    return VendorError(str(number), re.compile(pattern, re.IGNORECASE), cause, remedy)


HOST_MEMORY = "host memory"
"""The row for lack of memory on this machine."""
_SPLIT_MORE = "increase stages.split_model.num_splits, or use fewer bits per weight"

TABLE: tuple[VendorError, ...] = (
    _phrase(
        "graph too large",
        r"graph requires estimated allocation of \d+ KB|during serialize: memory usage too large"
        r"|serializ\w+ error:? memory usage too large",
        "a graph exceeds 2,097,152 KB, the limit of one serialized graph",
        _SPLIT_MORE,
    ),
    _phrase(
        "no space",
        r"no space left on device|disk quota exceeded",
        "no space left on device",
        "free space on that disk (`qairt cache prune` removes what no run needs), or use another one with --cache-dir",
    ),
    _phrase(
        HOST_MEMORY,
        r"\bstd::bad_alloc\b|\bMemoryError\b|cannot allocate memory",
        "this machine ran out of memory",
        "run fewer items at once (--jobs 1), or increase stages.split_model.num_splits",
    ),
    _phrase(
        "vendor's Python",
        r"libpython3[.\d]*\.so[.\d]*: cannot open shared object|SyntaxError: invalid syntax"
        r"|undefined symbol: _?Py\w+|requires python|python version .*not supported",
        "the SDK's converter does not run on this Python: its libraries are built for Python 3.10",
        "create a virtual environment with Python 3.10 for the SDK and set QAIRT_SDK_PYTHON to its bin/python",
    ),
    _phrase(
        "vendor's packages",
        r"(?:ModuleNotFoundError|ImportError): No module named|numpy\.dtype size changed|_ARRAY_API not found",
        "the SDK's Python lacks a package, or has a version of it that the SDK does not support",
        "run the SDK's bin/check-python-dependency with that Python",
    ),
    _phrase(
        "system library",
        r"error while loading shared libraries|lib[\w+.-]+\.so[.\d]*: cannot open shared object",
        "a library that the tool needs is not installed",
        "run the SDK's bin/check-linux-dependency.sh (Ubuntu: apt install libc++1)",
    ),
    _phrase(
        "unknown option",
        r"unrecognized arguments?\b|(?:unknown|invalid|unrecognized) option",
        "the tool does not know an option: this SDK version has a different command line",
        "use one of the SDK versions that `qairt doctor` lists",
    ),
    _phrase(
        "mismatching datatypes",
        r"have mismatching data ?types",
        "two tensors of an operation have different types, usually because one of them is not quantized",
        "every tensor needs an encoding: run quantization again, and compare the names in the part's encodings with "
        "those in its graph",
    ),
    _phrase(
        "missing encodings",
        r"missing (?:quantization )?encodings?\b|encodings? (?:\w+ ){0,3}(?:missing|not found|not provided)"
        r"|no (?:quantization )?encodings? (?:\w+ ){0,3}(?:for|found)",
        "a tensor has no encoding, and the vendor's tools would invent one",
        "run quantization again: the part's encodings must cover every tensor of its graph",
    ),
    _phrase(
        "operation refused",
        r"op specific validation failed|op validator .* failed|backendvalidateopconfig\S* failed",
        "the NPU does not support an operation with these types",
        "change the bit widths of its tensors, or the graph",
    ),
    _phrase(
        "newer binary",
        r"using newer context binary on old sdk|can't read future blob",
        "the binary was compiled by a newer SDK than the one that reads it",
        "use libraries of the SDK version that compiled it, or newer",
    ),
    _code(
        5005,
        "a context could not be created from a binary: it was compiled for another chip, or its graphs need more "
        "memory (VTCM or DDR) than the device has",
        "compile for this device's chip (soc_details), or increase stages.split_model.num_splits",
    ),
    _code(
        5004,
        "this runtime cannot read the version of the binary",
        "use libraries of the SDK version that compiled it, or newer",
    ),
    _code(
        5000,
        "a context was rejected: its binary was compiled by a newer SDK than the runtime, or for another chip",
        "use a runtime of the version that compiled it, or newer, and compile for this device's chip (soc_details)",
    ),
    _code(
        14001,
        "the NPU could not be initialised: the configuration is for another chip, or the libraries for its "
        "architecture (libQnnHtpV*Stub.so and Skel.so) cannot be loaded",
        "compare soc_details with the device's chip, and put the libraries for that architecture beside the binary",
    ),
    _code(
        1009,
        "the vendor's libraries could not be loaded, or were loaded twice in one process",
        "use libraries of one SDK version only, with no others on LD_LIBRARY_PATH",
    ),
    _code(
        1008,
        "the versions of the vendor's libraries do not match",
        "use libraries of one SDK version only",
    ),
    _code(
        1007,
        "the connection to the NPU's processor was lost; it restarts by itself",
        "run again; if that fails too, restart the device or increase stages.split_model.num_splits",
    ),
    _code(
        1002,
        "the compiler or the NPU ran out of memory for a graph",
        _SPLIT_MORE + "; or run fewer items at once (--jobs 1)",
    ),
)


def explain(lines: Iterable[str]) -> Explanation | None:
    """The line of a log that explains its failure best; None where no row matches."""
    found: Explanation | None = None
    best = len(TABLE)
    for line in lines:
        for rank, error in enumerate(TABLE[:best]):
            if error.pattern.search(line):
                found, best = Explanation(line.strip(), error), rank
                break
    return found
