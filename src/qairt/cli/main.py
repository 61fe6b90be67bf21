"""`qairt`: the entry point, and what it prints when a command ends early.

Next to nothing is imported before `main` begins, so that Ctrl-C is handled from the first moment.
"""

from __future__ import annotations

import os
import sys

from qairt.cli import exit_codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from qairt.errors import QairtError

COMPLETION_VARIABLE = "_QAIRT_COMPLETE"
"""Set by the shell's completion script."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (see `exit_codes`)."""
    # Read when torch is imported: threads that spin while they wait take cores from everybody else.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        argv = list(sys.argv[1:] if arguments is None else arguments)
        return _complete() if COMPLETION_VARIABLE in os.environ else _run(argv)
    except KeyboardInterrupt:
        return _interrupted()
    finally:
        _flush()


def _run(argv: list[str]) -> int:
    from qairt.cli.console import ReaderGone

    debug = _take_debug(argv)
    _prepare_output()
    try:
        return _invoke(argv)
    except (ReaderGone, BrokenPipeError):  # `qairt plan | head`: the reader has seen enough
        return exit_codes.DONE
    except Exception as error:
        if debug:
            import traceback

            traceback.print_exc()
        return _report(error, as_json="--json" in argv)


def _invoke(argv: list[str]) -> int:
    import typer

    from qairt.cli.app import command_line

    commands = command_line()
    try:
        with commands.make_context("qairt", argv) as context:
            commands.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except SystemExit as ended:  # Typer's own --install-completion and --show-completion
        return ended.code if isinstance(ended.code, int) else exit_codes.DONE
    return exit_codes.DONE


def _complete() -> int:
    """Print completions for the shell. A failure prints nothing: it would land in the middle of the prompt."""
    from contextlib import redirect_stderr

    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):
        try:
            from qairt.cli.app import command_line

            command_line()(prog_name="qairt")
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else 0
        except Exception:
            return 1
    return 0


def _interrupted() -> int:
    """Report Ctrl-C; another one meanwhile changes nothing."""
    from contextlib import suppress

    with suppress(KeyboardInterrupt):
        from qairt.cli.failures import report_error

        report_error("interrupted")
    return exit_codes.INTERRUPTED


def _report(error: Exception, *, as_json: bool) -> int:
    import typer

    from qairt.cli.console import report
    from qairt.cli.failures import report_error, report_failure
    from qairt.errors import QairtError

    match error:
        case QairtError():
            report_failure(error, as_json=as_json)
            return error.exit_code
        case typer.TyperException():
            message = error.format_message()
            if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
                report(message)
            else:
                report_error(message, remedy=f"`{_command_path(error)} --help` lists its arguments and options")
            return exit_codes.USAGE
        case typer.Abort():
            report_error("interrupted")
            return exit_codes.INTERRUPTED
        case OSError():
            report_failure(_about_a_file(error), as_json=as_json)
            return exit_codes.FAILED
        case _:
            report_error(
                f"{type(error).__name__}: {error}",
                where="internal error",
                remedy="this is a bug in qairt; run the same command with --debug for the traceback",
            )
            return exit_codes.FAILED


def _about_a_file(error: OSError) -> QairtError:
    from qairt.errors import QairtError, disk_full, is_disk_full

    where = f"{error.filename}" if error.filename else None
    if is_disk_full(error):
        return disk_full(where)
    remedy = "check its permissions and those of its folder, or choose another place"
    return QairtError((error.strerror or str(error)).lower(), where=where, remedy=remedy)


def _command_path(error: Exception) -> str:
    """`qairt cache list`: the command whose usage was wrong."""
    context = getattr(error, "ctx", None)
    return str(context.command_path) if context else "qairt"


def _take_debug(argv: list[str]) -> bool:
    """Remove `--debug` from `argv`, anywhere before a `--`."""
    end = argv.index("--") if "--" in argv else len(argv)
    found = "--debug" in argv[:end]
    argv[:end] = [word for word in argv[:end] if word != "--debug"]
    return found


def _prepare_output() -> None:
    """Characters that the terminal cannot show become `?`; warnings are one line without a file name."""
    import io
    import warnings

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    warnings.showwarning = _show_warning


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    from qairt.cli.console import report

    report(f"Warning: {message}")


def _flush() -> None:
    """Write buffered output now, or discard it: at exit a closed pipe would print an error."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
