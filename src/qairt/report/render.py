"""A report as a page: self-contained HTML for a browser, or Markdown."""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from markupsafe import Markup, escape

from qairt.errors import QairtError, unwritable
from qairt.files import write_atomic
from qairt.report.facts import RunReport
from qairt.report.page import page_of
from qairt.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

_COMMAND = re.compile(r"qairt [a-z]+ .+$")


def to_html(report: RunReport, folder: Path) -> str:
    """One HTML file with inline style and charts; no scripts, no external resources.

    Args:
        folder: where it will stand; links to pages of stages are relative to it.
    """
    environment = _environment(autoescape=True)
    environment.filters |= {"commands": _commands, "breakable": _breakable}
    environment.filters["link"] = lambda page: _link(page, folder)
    style = (resources.files("qairt.report") / "templates" / "report.css").read_text(encoding="utf-8")
    return _rendered(environment, "report.html.j2", report, style=Markup(style))


def to_markdown(report: RunReport) -> str:
    """Markdown with tables, as GitHub renders them."""
    environment = _environment(autoescape=False)
    environment.filters["cell"] = _cell
    text = _rendered(environment, "report.md.j2", report)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _environment(*, autoescape: bool) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("qairt.report")
    return Environment(
        loader=loader, autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _rendered(environment: Environment, name: str, report: RunReport, **more: object) -> str:
    return environment.get_template(name).render(**page_of(report), version=__version__, **more)


def _commands(text: str) -> Markup:
    """A sentence; the command at its end becomes code."""
    match = _COMMAND.search(text)
    return escape(text) if match is None else Markup("{}<code>{}</code>").format(text[: match.start()], match[0])


def _breakable(name: str) -> Markup:
    """A name with line breaks allowed after underscores."""
    return Markup("_<wbr>").join(name.split("_"))


def _link(page: Path, folder: Path) -> str:
    """The address of a page, relative to the folder."""
    return quote(Path(os.path.relpath(page, folder)).as_posix())


def _cell(text: str) -> str:
    """Text escaped so that it stays in its table cell and is not read as Markdown."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    return re.sub(r"([\\|<>*\[\]`])", r"\\\1", plain)


def write(path: Path, text: str) -> None:
    """Replace `path` with `text`; missing parent folders are created.

    Raises:
        QairtError: it is a folder, or cannot be written; the old file is kept.
    """
    if path.is_dir():
        raise QairtError("this is a folder", where=str(path), remedy="give the path of a file in it")
    try:
        write_atomic(path, text)
    except OSError as error:
        raise unwritable(error, "the report", path, instead="give another path with --html or --md") from error
