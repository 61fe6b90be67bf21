"""`qairt`: the entry point, and what becomes of everything that ends a command early."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from qairt.cli import exit_codes
from qairt.cli.console import ReaderLeft, tell


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (see `exit_codes`)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = _take_debug(words)
    as_json = "--json" in words
    _prepare_output()
    try:
        code = _run(words)
        return code
    except ReaderLeft:  # `qairt plan | head`: the reader has what it wanted
        return exit_codes.DONE
    except Exception as error:
        if debug:
            import traceback

            traceback.print_exc()
        return _report(error, as_json)
    finally:
        _flush()


def _run(words: list[str]) -> int:
    from qairt.cli.app import app

    code = app(words, prog_name="qairt", standalone_mode=False)
    return code if isinstance(code, int) else exit_codes.DONE


def _report(error: Exception, as_json: bool) -> int:
    import typer

    from qairt.cli.failures import report, tell_error
    from qairt.errors import QairtError

    match error:
        case QairtError():
            report(error, as_json=as_json)
            return error.exit_code
        case typer.TyperException():
            context: Any = getattr(error, "ctx", None)
            command = context.command_path if context else "qairt"
            message = error.format_message()
            if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
                tell(message)
            else:
                tell_error(message, remedy=f"`{command} --help` says what it takes")
            return exit_codes.USAGE
        case typer.Abort():
            tell_error("interrupted")
            return exit_codes.INTERRUPTED
        case OSError():
            where = f"{error.filename}" if error.filename else None
            tell_error(error.strerror or str(error), where=where, remedy="check the path, its permissions and the disk")
            return exit_codes.FAILED
        case _:
            tell_error(
                f"{type(error).__name__}: {error}",
                where="inside qairt",
                remedy="this is a fault of qairt; the same command with --debug prints where it happened",
            )
            return exit_codes.FAILED


def _take_debug(words: list[str]) -> bool:
    """Take `--debug` out of the words, wherever it stands before a `--`."""
    end = words.index("--") if "--" in words else len(words)
    found = "--debug" in words[:end]
    words[:end] = [word for word in words[:end] if word != "--debug"]
    return found


def _prepare_output() -> None:
    """Characters that the terminal cannot show become `?`; warnings are one line without a file name."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    warnings.showwarning = _show_warning


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    tell(f"Warning: {message}")


def _flush() -> None:
    """What is left of the output goes out now, or nowhere: at exit it would be an error message into a closed pipe."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
