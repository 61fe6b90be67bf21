"""Genie, the vendor's runtime for language models, out of the wheel `onnxruntime-qnn`: on x86 with the NPU emulated.

It is always in a process of its own (`genie_child`): its libraries print where they like, and end the process on some
inputs. On x86 a binary with more than one graph is such an input, so one is never handed to it here.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from qairt.errors import GenerationError, ToolchainError, ToolchainNotAvailable
from qairt.toolchain.genie.process import GenieProcess
from qairt.toolchain.qnn import qnn, wheel

LIBRARY = "libGenie.so"
CONFIG = "genie_config.json"
EXTENSIONS = "htp_backend_ext_config.json"
"""The NPU's settings, which Genie hands to its backend (`qairt.toolchain.qnn.config.backend_settings`)."""
NO_TOKEN = -1
"""Genie's word for a token that there is none of."""
CHECK_S = 60.0
"""Seconds after which a config's check is given up; it takes half a second."""
CREATE_S = 900.0
"""Seconds after which a dialog's creation is given up; a binary of 100 MB takes a fraction of one."""
CONTEXT_EXCEEDED = 4
"""Genie's status of a query that came to the end of the context."""


def require() -> Path:
    """The folder of Genie's library.

    Raises:
        ToolchainNotAvailable: this is no x86-64 Linux, or the wheel is missing, too old or without the library.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise ToolchainNotAvailable(
            f"Genie out of the wheel runs on x86-64 Linux, this is {platform.system()} on {platform.machine()}",
            where="target genie",
            remedy="on a device, run the bundle with genie-t2t-run",
        )
    wheel.require()
    folder = wheel.library_folder()
    if folder is None or not (folder / LIBRARY).is_file():
        raise ToolchainNotAvailable(
            f"the installed {wheel.PACKAGE} has no {LIBRARY}", where="target genie", remedy=wheel.REMEDY
        )
    return folder


def check_config(config: Mapping[str, Any], *, folder: Path | None = None) -> list[str]:
    """What the vendor has against a `genie_config.json`; empty when it is good. Files it names are not opened.

    Args:
        config: its content.
        folder: where its relative paths begin.

    Raises:
        ToolchainNotAvailable: see `require`.
    """
    return _tried("check", config, folder, CHECK_S)


def try_dialog(config: Mapping[str, Any], *, folder: Path | None = None) -> list[str]:
    """What the vendor has against a config, its tokenizer and its binaries, which are loaded and looked into; empty
    when a dialog could be made. That Genie's process died, and of what, is among it.

    Binaries with several graphs are not loaded: that is a complaint.

    Raises:
        ToolchainNotAvailable: see `require`.
    """
    require()
    try:
        require_one_graph_each(config, folder)
    except ToolchainError as error:
        return [str(error)]
    return _tried("create", config, folder, CREATE_S)


def require_one_graph_each(config: Mapping[str, Any], folder: Path | None = None) -> None:
    """
    Raises:
        ToolchainError: a binary of the config holds several graphs; says why it is not loaded.
    """
    for path in binaries_of(config, folder):
        try:
            graphs = qnn.inspect(path).graphs
        except ToolchainError:
            continue  # missing or damaged: Genie itself says so
        if len(graphs) > 1:
            names = ", ".join(graph.name.lstrip("_") for graph in graphs)
            raise ToolchainError(
                f"it holds {len(graphs)} graphs ({names}): on x86 the vendor's libraries end the process when they"
                " load such a binary, so it is not loaded here",
                where=path.name,
                remedy="on this machine use binaries of one graph each, as `qairt generate --target genie` makes them",
            )


def binaries_of(config: Mapping[str, Any], folder: Path | None = None) -> list[Path]:
    """The context binaries that a config names, in order; none where it does not name them as it should."""
    found: Any = config
    for name in ("dialog", "engine", "model", "binary", "ctx-bins"):
        found = found.get(name) if isinstance(found, Mapping) else None
    names = [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
    return [(folder or Path()) / name for name in names]


def room_after(tokens: int, context_size: int) -> int:
    """How many new tokens Genie can give after so many. It is never asked for more: that damages its memory.

    Raises:
        GenerationError: none.
    """
    if tokens >= context_size:
        raise GenerationError(
            f"{tokens} tokens do not fit: the context holds {context_size}, the first new one included",
            where="prompt",
            remedy="shorten the prompt, or set a larger context length in stages.prepare_exports and run again",
        )
    return context_size - tokens


class Dialog:
    """A dialog with a model: `with Dialog(config) as dialog: …`. One prompt after the other, each by itself."""

    def __init__(self, config: Mapping[str, Any], *, folder: Path | None = None) -> None:
        """
        Args:
            config: the content of a `genie_config.json`.
            folder: where its relative paths begin.

        Raises:
            ToolchainNotAvailable: see `require`.
            ToolchainError: a binary holds several graphs, or Genie refused the config, the tokenizer or a binary; tells
                what it said.
        """
        libraries = require()
        require_one_graph_each(config, folder)
        context = config["dialog"]["context"]
        self.context_size = int(context["size"])
        self._held = 1 if int(context["bos-token"]) >= 0 else 0
        """Genie begins every query with the config's `bos-token`, also where the prompt has one."""
        self._process = GenieProcess(libraries, folder)
        self.pid = self._process.pid
        try:
            self._process.ask(do="create", config=config)
            made = self._process.status(CREATE_S)
            if made["status"] != 0:
                raise self._process.failed(f"it refused the model (status {made['status']})")
        except BaseException:
            self.close()
            raise
        self.load_s: float = made["seconds"]
        """Seconds that loading took."""
        self._process.complaints()  # warnings of a dialog that could be made

    def encode(self, text: str) -> list[int]:
        """The tokens that Genie's own tokenizer makes of a text.

        Raises:
            ToolchainError: Genie failed, or its process died.
        """
        self._process.ask(do="encode", text=text)
        found = self._process.status(CHECK_S)
        self._require_good(found["status"], "the tokenizer failed")
        return [int(token) for token in found["tokens"]]

    def query(self, prompt: str, *, max_tokens: int) -> Iterator[str]:
        """Answer a finished prompt (chat template applied) in Genie's own text: a piece for each token but the one that
        ends the answer. A piece is empty where a character is not complete, and so are all after bytes that never
        become one: `query_tokens` loses nothing.

        Raises:
            GenerationError: the prompt leaves no room in the context.
            ToolchainError: Genie failed, or its process died.
        """
        allowed = min(max_tokens, self.room_after(len(self.encode(prompt))))
        self._process.ask(do="query", text=prompt, max_tokens=allowed)
        return (str(answer["piece"]) for answer in self._told())

    def query_tokens(self, tokens: Sequence[int], *, max_tokens: int) -> Iterator[int]:
        """The same for token ids, answered with token ids; errors are those of `query`."""
        allowed = min(max_tokens, self.room_after(len(tokens)))
        self._process.ask(do="query_tokens", tokens=list(tokens), max_tokens=allowed)
        return (int(answer["token"]) for answer in self._told())

    def room_after(self, tokens: int) -> int:
        """How many new tokens Genie can give after a prompt of so many; see `room_after`."""
        return room_after(tokens + self._held, self.context_size)

    def close(self) -> None:
        """End Genie's process, also in the middle of an answer."""
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _told(self) -> Iterator[dict[str, Any]]:
        for answer in self._process.answers():
            if "status" not in answer:
                yield answer
            elif answer["status"] != CONTEXT_EXCEEDED:
                self._require_good(answer["status"], "it failed to answer")

    def _require_good(self, status: int, what: str) -> None:
        if status != 0:
            raise self._process.failed(f"{what} (status {status})")


def _tried(what: str, config: Mapping[str, Any], folder: Path | None, timeout_s: float) -> list[str]:
    process = GenieProcess(require(), folder)
    try:
        process.ask(do=what, config=config)
        status = process.status(timeout_s)["status"]
        if status == 0:
            return []
        return process.complaints() or [f"Genie refused it with status {status} and said nothing"]
    except ToolchainError as error:
        return [error.what]
    finally:
        process.close()
