"""The process that runs Genie, the vendor's runtime. It imports nothing of qairt.

    python -P child.py FOLDER        FOLDER holds the libraries, and is on LD_LIBRARY_PATH

Requests arrive on standard input, replies go to standard output; both are JSON, one per line. The output of the
vendor's libraries goes to standard error, whichever stream they print to. The process ends when its parent does.

    {"do": "check", "config": {…}}                      {"status": 0}
    {"do": "create", "config": {…}}                     {"status": 0, "seconds": 0.1}
    {"do": "apply", "adapter": "…", "strengths": {…}}   {"status": 0}
    {"do": "embed", "text": "…"}                        {"status": 0, "vector": [0.5, …]}
    {"do": "encode", "text": "…"}                       {"status": 0, "tokens": [1, 2]}
    {"do": "query", "text": "…", "max_tokens": 8}       {"piece": "…"} for each token, then {"status": 0}
    {"do": "query_tokens", "tokens": […], "max_tokens": 8}      {"token": 5} for each, then {"status": 0}

A status is Genie's: 0 is success, below 0 an error, above 0 a warning. The functions are those of GenieDialog.h,
GenieEmbedding.h and GenieTokenizer.h, API 1.x.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_float, c_int, c_int32, c_size_t, c_uint32, c_void_p
from typing import BinaryIO, Protocol, TypedDict


class Reply(TypedDict, total=False):
    """One line of an answer. The last has a `status`; `query` sends a `piece` or `token` in each line before it."""

    status: int
    seconds: float
    tokens: list[int]
    piece: str
    token: int
    vector: list[float]


class PointerTo(Protocol):
    """A ctypes pointer to integers, as a callback gets it."""

    def __getitem__(self, index: slice) -> list[int]: ...


class PointerToFloats(Protocol):
    """The same of floats."""

    def __getitem__(self, index: slice) -> list[float]: ...


ENGINE = b"primary"
"""The role of a basic dialog's only engine."""
WHOLE = 0
"""A query that is a whole sentence."""
BEGIN, CONTINUE = 1, 2
"""Codes of the pieces that stand for a token; the last piece has neither, and no token."""

Text = CFUNCTYPE(None, c_char_p, c_int, c_void_p)
Tokens = CFUNCTYPE(None, POINTER(c_uint32), c_uint32, c_int, c_void_p)
Vector = CFUNCTYPE(None, POINTER(c_uint32), c_uint32, POINTER(c_float), c_void_p)
Allocate = CFUNCTYPE(None, c_size_t, POINTER(c_void_p))

ARGUMENTS = {
    "GenieDialog_applyLora": [c_void_p, c_char_p, c_char_p],
    "GenieDialogConfig_createFromJson": [c_char_p, POINTER(c_void_p)],
    "GenieDialog_create": [c_void_p, POINTER(c_void_p)],
    "GenieDialog_getTokenizer": [c_void_p, POINTER(c_void_p)],
    "GenieDialog_query": [c_void_p, c_char_p, c_int, Text, c_void_p],
    "GenieDialog_reset": [c_void_p],
    "GenieDialog_setLoraStrength": [c_void_p, c_char_p, c_char_p, c_float],
    "GenieDialog_setMaxNumTokens": [c_void_p, c_uint32],
    "GenieDialog_tokenQuery": [c_void_p, POINTER(c_uint32), c_uint32, c_int, Tokens, c_void_p],
    "GenieEmbeddingConfig_createFromJson": [c_char_p, POINTER(c_void_p)],
    "GenieEmbedding_create": [c_void_p, POINTER(c_void_p)],
    "GenieEmbedding_generate": [c_void_p, c_char_p, Vector, c_void_p],
    "GenieTokenizer_encode": [c_void_p, c_char_p, Allocate, POINTER(POINTER(c_int32)), POINTER(c_uint32)],
}


class Genie:
    """The library, and the one dialog or embedding model of this process."""

    def __init__(self, folder: str, replies: BinaryIO) -> None:
        for name in ("libQnnSystem.so", "libQnnHtp.so"):
            ctypes.CDLL(os.path.join(folder, name), ctypes.RTLD_GLOBAL)
        self._library = ctypes.CDLL(os.path.join(folder, "libGenie.so"))
        for name, arguments in ARGUMENTS.items():
            function = getattr(self._library, name)
            function.argtypes, function.restype = arguments, c_int32
        self._c = ctypes.CDLL(None)
        self._replies = replies
        self._dialog = c_void_p()
        self._embedding = c_void_p()

    def reply(self, line: Reply) -> None:
        self._c.fflush(None)  # the library's output must precede the reply
        self._replies.write(json.dumps(line).encode() + b"\n")
        self._replies.flush()

    def check(self, config: dict[str, object]) -> None:
        self.reply({"status": self._configure(config)[0]})

    def create(self, config: dict[str, object]) -> None:
        started = time.monotonic()
        status, made = self._configure(config)
        if status == 0 and "embedding" in config:
            status = self._library.GenieEmbedding_create(made, byref(self._embedding))
        elif status == 0:
            status = self._library.GenieDialog_create(made, byref(self._dialog))
        self.reply({"status": status, "seconds": round(time.monotonic() - started, 3)})

    def embed(self, text: str) -> None:
        vector: list[float] = []

        def on_vector(sizes: PointerTo, rank: int, values: PointerToFloats, _: object) -> None:
            count = 1
            for size in sizes[:rank]:
                count *= size
            vector.extend(values[:count])

        status = self._library.GenieEmbedding_generate(self._embedding, text.encode(), Vector(on_vector), None)
        self.reply({"status": status, "vector": vector})

    def apply(self, adapter: str, strengths: dict[str, float]) -> None:
        status = self._library.GenieDialog_applyLora(self._dialog, ENGINE, adapter.encode())
        for name, value in strengths.items():
            if status == 0:
                status = self._library.GenieDialog_setLoraStrength(self._dialog, ENGINE, name.encode(), value)
        self.reply({"status": status})

    def encode(self, text: str) -> None:
        tokenizer, tokens, count = c_void_p(), POINTER(c_int32)(), c_uint32()
        buffers = []

        def allocate(size: int, address: ctypes.Array[c_void_p]) -> None:
            buffers.append(ctypes.create_string_buffer(size))
            address[0] = ctypes.addressof(buffers[-1])

        status = self._library.GenieDialog_getTokenizer(self._dialog, byref(tokenizer))
        if status == 0:
            status = self._library.GenieTokenizer_encode(
                tokenizer, text.encode(), Allocate(allocate), byref(tokens), byref(count)
            )
        self.reply({"status": status, "tokens": tokens[: count.value] if status == 0 else []})

    def query(self, text: str, max_tokens: int) -> None:
        def on_piece(piece: bytes, code: int, _: object) -> None:
            if code in (BEGIN, CONTINUE):
                self.reply({"piece": piece.decode(errors="replace")})

        self._library.GenieDialog_setMaxNumTokens(self._dialog, max_tokens)
        self._finish(self._library.GenieDialog_query(self._dialog, text.encode(), WHOLE, Text(on_piece), None))

    def query_tokens(self, tokens: list[int], max_tokens: int) -> None:
        def on_tokens(generated: PointerTo, count: int, code: int, _: object) -> None:
            for token in generated[:count] if code in (BEGIN, CONTINUE) else ():
                self.reply({"token": token})

        self._library.GenieDialog_setMaxNumTokens(self._dialog, max_tokens)
        prompt = (c_uint32 * len(tokens))(*tokens)
        query = self._library.GenieDialog_tokenQuery
        self._finish(query(self._dialog, prompt, len(tokens), WHOLE, Tokens(on_tokens), None))

    def _finish(self, status: int) -> None:
        """Forget the conversation: the next query starts a new one."""
        self._library.GenieDialog_reset(self._dialog)
        self.reply({"status": status})

    def _configure(self, config: dict[str, object]) -> tuple[int, c_void_p]:
        made = c_void_p()
        kind = "Embedding" if "embedding" in config else "Dialog"
        create = getattr(self._library, f"Genie{kind}Config_createFromJson")
        return create(json.dumps(config).encode(), byref(made)), made


def main() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: also while the library holds the interpreter
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    genie = Genie(sys.argv[1], replies)
    try:
        for line in sys.stdin.buffer:
            request = json.loads(line)
            getattr(genie, request.pop("do"))(**request)
    except BrokenPipeError:
        pass
    sys.stderr.flush()
    os._exit(0)  # the vendor's libraries cannot always unload


if __name__ == "__main__":
    main()
