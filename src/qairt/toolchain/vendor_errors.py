"""What the vendor's tools and runtime say when they fail: the cause, and what to do about it. One table for all.

Sources: the names of codes are those of the QNN API reference ("Error codes"); causes and remedies are those that users
and the vendor's engineers report for them in public issues. A line is explained by the first row that fits it, and a
log by the row that stands highest: the root of a failure is mostly followed by codes that only pass it on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class VendorError:
    """One row: how a failure shows, why it happens, what to do."""

    name: str
    """Of the row: the vendor's code, or a word for the phrase."""
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
    """A code counts only where the line calls it one: `err 1002`, `error = 0x3ea`, `failed to create device: 14001`."""
    called = (
        r"(?:\b(?:err(?:or)?|code|status|failed|returned|handle)\b[^\n\w]{0,4}(?:code|with|err(?:or)?|=|:|\s)*"
        r"|\bfailed to [a-z ]{1,40}:\s*)"
    )
    pattern = rf"{called}(?:{number}|0x0*{number:x})\b"
    return VendorError(str(number), re.compile(pattern, re.IGNORECASE), cause, remedy)


_BITS = "set stages.split_model.num_splits higher, or use fewer bits for the weights"

TABLE: tuple[VendorError, ...] = (
    _phrase(
        "graph too large",
        r"graph requires estimated allocation of \d+ KB|during serialize: memory usage too large"
        r"|serializ\w+ error:? memory usage too large",
        "a graph is over 2,097,152 KB, the most that one serialized graph may hold",
        _BITS,
    ),
    _phrase(
        "no space",
        r"no space left on device|disk quota exceeded",
        "the disk is full",
        "free space, or give another disk with --cache-dir",
    ),
    _phrase(
        "host memory",
        r"\bstd::bad_alloc\b|\bMemoryError\b|cannot allocate memory",
        "this machine ran out of memory",
        "run fewer items at once (--jobs 1), or set stages.split_model.num_splits higher",
    ),
    _phrase(
        "vendor's Python",
        r"libpython3[.\d]*\.so[.\d]*: cannot open shared object|SyntaxError: invalid syntax"
        r"|undefined symbol: _?Py\w+|requires python|python version .*not supported",
        "the SDK's converter does not run with this Python: its libraries are built for Python 3.10",
        "make a virtual environment of Python 3.10 for the SDK and set QAIRT_SDK_PYTHON to its bin/python",
    ),
    _phrase(
        "vendor's packages",
        r"(?:ModuleNotFoundError|ImportError): No module named|numpy\.dtype size changed|_ARRAY_API not found",
        "the SDK's Python lacks a package, or has another version of it than the SDK needs",
        "run the SDK's bin/check-python-dependency with that Python",
    ),
    _phrase(
        "system library",
        r"error while loading shared libraries|lib[\w+.-]+\.so[.\d]*: cannot open shared object",
        "a library that the tool needs is not on this machine",
        "run the SDK's bin/check-linux-dependency.sh (Ubuntu: apt install libc++1)",
    ),
    _phrase(
        "unknown option",
        r"unrecognized arguments?\b|(?:unknown|invalid|unrecognized) option",
        "the tool does not know an option: this SDK has another command line",
        "use one of the SDK versions that `qairt doctor` names",
    ),
    _phrase(
        "mismatching datatypes",
        r"have mismatching data ?types",
        "two tensors of an operation have different types, mostly because one of them is not quantized",
        "every tensor needs an encoding: run quantization again, and compare the names in the part's encodings with "
        "those in its graph",
    ),
    _phrase(
        "missing encodings",
        r"missing (?:quantization )?encodings?\b|encodings? (?:\w+ ){0,3}(?:missing|not found|not provided)"
        r"|no (?:quantization )?encodings? (?:\w+ ){0,3}(?:for|found)",
        "a tensor has no encoding, and the vendor's tools would make one up",
        "run quantization again: every tensor of the graph must be among the part's encodings",
    ),
    _phrase(
        "operation refused",
        r"op specific validation failed|op validator .* failed|backendvalidateopconfig\S* failed",
        "the NPU does not run an operation with these types",
        "change the bit widths of its tensors, or the graph",
    ),
    _phrase(
        "newer binary",
        r"using newer context binary on old sdk|can't read future blob",
        "the binary was made by a newer SDK than the one that reads it",
        "use libraries of the SDK version that compiled it, or a newer one",
    ),
    _code(
        5005,
        "a context could not be made from a binary: it was compiled for another chip, or its graphs need more memory "
        "(VTCM or DDR) than the device gives",
        "compile for this device's chip (soc_details), or set stages.split_model.num_splits higher",
    ),
    _code(
        5004,
        "the binary has a version that this runtime does not read",
        "use libraries of the SDK version that compiled it, or a newer one",
    ),
    _code(
        5000,
        "a context was refused: its binary was made by a newer SDK than the runtime, or for another chip",
        "use a runtime of the version that compiled it or newer, and compile for this device's chip (soc_details)",
    ),
    _code(
        14001,
        "the NPU could not be set up: the configuration is for another chip, or the libraries for its architecture "
        "(libQnnHtpV*Stub.so and Skel.so) cannot be loaded",
        "compare soc_details with the device's chip, and put the libraries of that architecture beside the binary",
    ),
    _code(
        1009,
        "the vendor's libraries could not be loaded, or were loaded twice into one process",
        "use all libraries of one SDK version, and no others on LD_LIBRARY_PATH",
    ),
    _code(
        1008,
        "the vendor's libraries are of versions that do not work together",
        "use all libraries of one SDK version",
    ),
    _code(
        1007,
        "the connection to the NPU's own processor broke; it starts again by itself",
        "run again; if it repeats, restart the device or set stages.split_model.num_splits higher",
    ),
    _code(
        1002,
        "the compiler or the NPU ran out of memory for a graph",
        _BITS + "; with several items at once, run fewer (--jobs 1)",
    ),
)


def explain(lines: Iterable[str]) -> Explanation | None:
    """The line of a log that says most about its failure; None where no row fits any."""
    found: Explanation | None = None
    best = len(TABLE)
    for line in lines:
        for place, error in enumerate(TABLE[:best]):
            if error.pattern.search(line):
                found, best = Explanation(line.strip(), error), place
                break
    return found
