"""Genie, the vendor's runtime for language models, from the wheel `onnxruntime-qnn`: on x86 with the NPU emulated.

It always runs in its own process (`child`): its libraries print to any stream, and some inputs end the process. On x86
a binary with more than one graph is such an input, so one is never loaded here.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from qairt.errors import GenerationError, ToolchainError, ToolchainNotAvailable
from qairt.toolchain.genie.config import binaries_of, value_at
from qairt.toolchain.genie.process import GenieProcess
from qairt.toolchain.qnn import wheel
from qairt.toolchain.qnn.inspection import inspect

if TYPE_CHECKING:
    from qairt.toolchain.genie.child import Reply

LIBRARY = "libGenie.so"
CHECK_TIMEOUT_S = 60.0
"""Checking a configuration takes half a second."""
CREATE_TIMEOUT_S = 900.0
"""Creating a dialog takes a fraction of a second for a binary of 100 MB."""
CONTEXT_EXCEEDED = 4
"""Genie's status of a query that reached the end of the context."""


def require() -> Path:
    """The folder of Genie's library.

    Raises:
        ToolchainNotAvailable: this is not x86-64 Linux, or the wheel is missing, too old or without the library.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise ToolchainNotAvailable(
            f"the wheel's Genie runs on x86-64 Linux, this is {platform.system()} on {platform.machine()}",
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


def check_config(config: Mapping[str, object], *, folder: Path | None = None) -> list[str]:
    """Genie's complaints about a `genie_config.json`; empty when it is valid. The files it names are not opened.

    Args:
        config: its content.
        folder: the base of its relative paths.

    Raises:
        ToolchainNotAvailable: see `require`.
    """
    return _complaints("check", config, folder, CHECK_TIMEOUT_S)


def try_dialog(config: Mapping[str, object], *, folder: Path | None = None) -> list[str]:
    """Genie's complaints about a configuration, its tokenizer and its binaries, all of which it loads; empty when it
    can create a dialog. A crash of Genie's process is a complaint too.

    Binaries with several graphs are not loaded; that is a complaint as well.

    Raises:
        ToolchainNotAvailable: see `require`.
    """
    require()
    try:
        require_one_graph_each(config, folder)
    except ToolchainError as error:
        return [str(error)]
    return _complaints("create", config, folder, CREATE_TIMEOUT_S)


def room_after(tokens: int, context_size: int) -> int:
    """How many new tokens Genie can generate after `tokens`. Asking it for more would corrupt its memory.

    Raises:
        GenerationError: none.
    """
    if tokens >= context_size:
        raise GenerationError(
            f"{tokens} tokens do not fit: the context holds {context_size}, including the first new one",
            where="prompt",
            remedy="shorten the prompt, or set a larger context length in stages.prepare_exports and run again",
        )
    return context_size - tokens


class InGenie:
    """What a configuration describes, created in a Genie process of its own, which a `with` block ends."""

    def __init__(self, config: Mapping[str, object], *, folder: Path | None = None) -> None:
        """
        Args:
            config: the content of a `genie_config.json`.
            folder: the base of its relative paths.

        Raises:
            ToolchainNotAvailable: see `require`.
            ToolchainError: a binary holds several graphs, or Genie rejected the configuration, the tokenizer or a
                binary; contains its output.
        """
        libraries = require()
        require_one_graph_each(config, folder)
        self._process = GenieProcess(libraries, folder)
        self.pid = self._process.pid
        try:
            self._process.request(do="create", config=config)
            created = self._process.status(CREATE_TIMEOUT_S)
            self._require_success(created["status"], "it rejected the model")
        except BaseException:
            self.close()
            raise
        self.load_s: float = created["seconds"]
        """Seconds that loading took."""
        self._process.complaints()  # drops warnings

    def close(self) -> None:
        """Kill Genie's process, even in the middle of an answer."""
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_success(self, status: int, what: str) -> None:
        if status != 0:
            raise self._process.failed(f"{what} (status {status})")


class Dialog(InGenie):
    """A dialog with a model: `with Dialog(config) as dialog: …`. Each prompt starts a new conversation."""

    def __init__(
        self,
        config: Mapping[str, object],
        *,
        folder: Path | None = None,
        strengths: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """
        Args:
            config: the content of a `genie_config.json`.
            folder: the base of its relative paths.
            strengths: by LoRA adapter of the configuration, the values that its `alphas` get when it is applied.

        Raises:
            QairtError: see `InGenie`.
        """
        self.context_size = _integer(config, "size")
        self._strengths = strengths or {}
        self._begin_tokens = 1 if _integer(config, "bos-token") >= 0 else 0
        """Genie begins every query with the configuration's `bos-token`, even if the prompt already has one."""
        super().__init__(config, folder=folder)

    def apply(self, adapter: str) -> None:
        """Answer with a LoRA adapter of the configuration from the next query on. Before the first, Genie's answers are
        neither the base's nor an adapter's.

        Raises:
            ToolchainError: there is no such adapter, or a file of its is missing; the one before stays.
        """
        self._process.request(do="apply", adapter=adapter, strengths=dict(self._strengths.get(adapter, {})))
        found = self._process.status(CHECK_TIMEOUT_S)
        self._require_success(found["status"], f"it did not apply the adapter {adapter}")

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, by Genie's own tokenizer.

        Raises:
            ToolchainError: Genie failed, or its process died.
        """
        self._process.request(do="encode", text=text)
        found = self._process.status(CHECK_TIMEOUT_S)
        self._require_success(found["status"], "the tokenizer failed")
        return [int(token) for token in found["tokens"]]

    def query(self, prompt: str, *, max_tokens: int) -> Iterator[str]:
        """Answer a prompt (chat template applied) with Genie's own text: one piece per token, except the end token. A
        piece is empty while a character is incomplete, and so are all pieces after bytes that never form a character:
        `query_tokens` loses nothing.

        Raises:
            GenerationError: the prompt leaves no room in the context.
            ToolchainError: Genie failed, or its process died.
        """
        allowed = min(max_tokens, self.room_after(len(self.encode(prompt))))
        self._process.request(do="query", text=prompt, max_tokens=allowed)
        return (reply["piece"] for reply in self._answer())

    def query_tokens(self, tokens: Sequence[int], *, max_tokens: int) -> Iterator[int]:
        """Answer token ids with token ids; raises as `query`."""
        allowed = min(max_tokens, self.room_after(len(tokens)))
        self._process.request(do="query_tokens", tokens=list(tokens), max_tokens=allowed)
        return (reply["token"] for reply in self._answer())

    def room_after(self, tokens: int) -> int:
        """How many new tokens Genie can generate after a prompt of `tokens`; see `room_after`."""
        return room_after(tokens + self._begin_tokens, self.context_size)

    def _answer(self) -> Iterator[Reply]:
        for reply in self._process.replies():
            if "status" not in reply:
                yield reply
            elif reply["status"] != CONTEXT_EXCEEDED:
                self._require_success(reply["status"], "it failed to answer")


def _integer(config: Mapping[str, object], name: str) -> int:
    value = value_at(config, "dialog", "context", name)
    assert isinstance(value, int)
    return value


def require_one_graph_each(config: Mapping[str, object], folder: Path | None) -> None:
    """
    Raises:
        ToolchainError: a binary of the configuration holds several graphs.
    """
    for path in binaries_of(config, folder):
        try:
            graphs = inspect(path).graphs
        except ToolchainError:
            continue  # missing or damaged: Genie itself will say so
        if len(graphs) > 1:
            names = ", ".join(graph.name.lstrip("_") for graph in graphs)
            raise ToolchainError(
                f"it holds {len(graphs)} graphs ({names}); on x86 the vendor's libraries crash when they load such a"
                " binary, so it is not loaded",
                where=path.name,
                remedy="here use binaries of one graph each, such as `qairt generate --target genie` compiles",
            )


def _complaints(
    what: Literal["check", "create"], config: Mapping[str, object], folder: Path | None, timeout_s: float
) -> list[str]:
    process = GenieProcess(require(), folder)
    try:
        process.request(do=what, config=config)
        status = process.status(timeout_s)["status"]
        if status == 0:
            return []
        return process.complaints() or [f"Genie rejected it with status {status} and no message"]
    except ToolchainError as error:
        return [error.what]
    finally:
        process.close()
