"""The process that holds Genie, the vendor's runtime. It imports nothing of qairt.

    python child.py FOLDER        FOLDER holds the libraries, and stands on LD_LIBRARY_PATH

Questions come on standard input, answers go to standard output, both JSON, a line each. What the vendor's libraries
print goes to standard error, whichever stream they print to. It ends when its parent does.

    {"do": "check", "config": {…}}                      {"status": 0}
    {"do": "create", "config": {…}}                     {"status": 0, "seconds": 0.1}
    {"do": "encode", "text": "…"}                       {"status": 0, "tokens": [1, 2]}
    {"do": "query", "text": "…", "max_tokens": 8}       {"piece": "…"} for each token, then {"status": 0}
    {"do": "query_tokens", "tokens": […], "max_tokens": 8}      {"token": 5} for each, then {"status": 0}

A status is Genie's: 0 is good, below 0 an error, above 0 a warning. The functions are those of GenieDialog.h and
GenieTokenizer.h, API 1.x.
"""

import ctypes
import json
import os
import signal
import sys
import time
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_int, c_int32, c_size_t, c_uint32, c_void_p
from typing import Any, BinaryIO

WHOLE = 0
"""A query that is a whole sentence."""
BEGIN, CONTINUE = 1, 2
"""Codes of an answer's pieces that stand for a token; the last one has neither, and no token."""

Text = CFUNCTYPE(None, c_char_p, c_int, c_void_p)
Tokens = CFUNCTYPE(None, POINTER(c_uint32), c_uint32, c_int, c_void_p)
Allocate = CFUNCTYPE(None, c_size_t, POINTER(c_void_p))

ARGUMENTS = {
    "GenieDialogConfig_createFromJson": [c_char_p, POINTER(c_void_p)],
    "GenieDialog_create": [c_void_p, POINTER(c_void_p)],
    "GenieDialog_getTokenizer": [c_void_p, POINTER(c_void_p)],
    "GenieDialog_query": [c_void_p, c_char_p, c_int, Text, c_void_p],
    "GenieDialog_reset": [c_void_p],
    "GenieDialog_setMaxNumTokens": [c_void_p, c_uint32],
    "GenieDialog_tokenQuery": [c_void_p, POINTER(c_uint32), c_uint32, c_int, Tokens, c_void_p],
    "GenieTokenizer_encode": [c_void_p, c_char_p, Allocate, POINTER(POINTER(c_int32)), POINTER(c_uint32)],
}


class Genie:
    """The library, and the one dialog this process has."""

    def __init__(self, folder: str, answers: BinaryIO) -> None:
        for name in ("libQnnSystem.so", "libQnnHtp.so"):
            ctypes.CDLL(os.path.join(folder, name), ctypes.RTLD_GLOBAL)
        self._library = ctypes.CDLL(os.path.join(folder, "libGenie.so"))
        for name, arguments in ARGUMENTS.items():
            function = getattr(self._library, name)
            function.argtypes, function.restype = arguments, c_int32
        self._c = ctypes.CDLL(None)
        self._answers = answers
        self._dialog = c_void_p()

    def answer(self, **words: Any) -> None:
        self._c.fflush(None)  # what the library printed so far is there before the answer is
        self._answers.write(json.dumps(words).encode() + b"\n")
        self._answers.flush()

    def check(self, config: dict[str, Any]) -> None:
        self.answer(status=self._configured(config)[0])

    def create(self, config: dict[str, Any]) -> None:
        started = time.monotonic()
        status, made = self._configured(config)
        if status == 0:
            status = self._library.GenieDialog_create(made, byref(self._dialog))
        self.answer(status=status, seconds=round(time.monotonic() - started, 3))

    def encode(self, text: str) -> None:
        tokenizer, tokens, count = c_void_p(), POINTER(c_int32)(), c_uint32()
        kept = []

        def allocate(size: int, place: Any) -> None:
            kept.append(ctypes.create_string_buffer(size))
            place[0] = ctypes.addressof(kept[-1])

        status = self._library.GenieDialog_getTokenizer(self._dialog, byref(tokenizer))
        if status == 0:
            status = self._library.GenieTokenizer_encode(
                tokenizer, text.encode(), Allocate(allocate), byref(tokens), byref(count)
            )
        self.answer(status=status, tokens=tokens[: count.value] if status == 0 else [])

    def query(self, text: str, max_tokens: int) -> None:
        def told(piece: bytes, code: int, _: Any) -> None:
            if code in (BEGIN, CONTINUE):
                self.answer(piece=piece.decode(errors="replace"))

        self._library.GenieDialog_setMaxNumTokens(self._dialog, max_tokens)
        self._ended(self._library.GenieDialog_query(self._dialog, text.encode(), WHOLE, Text(told), None))

    def query_tokens(self, tokens: list[int], max_tokens: int) -> None:
        def told(made: Any, count: int, code: int, _: Any) -> None:
            for token in made[:count] if code in (BEGIN, CONTINUE) else ():
                self.answer(token=token)

        self._library.GenieDialog_setMaxNumTokens(self._dialog, max_tokens)
        given = (c_uint32 * len(tokens))(*tokens)
        self._ended(self._library.GenieDialog_tokenQuery(self._dialog, given, len(tokens), WHOLE, Tokens(told), None))

    def _ended(self, status: int) -> None:
        """Forget the conversation: the next query begins another."""
        self._library.GenieDialog_reset(self._dialog)
        self.answer(status=status)

    def _configured(self, config: dict[str, Any]) -> tuple[int, c_void_p]:
        made = c_void_p()
        return self._library.GenieDialogConfig_createFromJson(json.dumps(config).encode(), byref(made)), made


def main() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: also while the library holds the interpreter
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    genie = Genie(sys.argv[1], answers)
    try:
        for line in sys.stdin.buffer:
            words = json.loads(line)
            getattr(genie, words.pop("do"))(**words)
    except BrokenPipeError:
        pass
    sys.stderr.flush()
    os._exit(0)  # the vendor's libraries are not always able to unload


if __name__ == "__main__":
    main()
