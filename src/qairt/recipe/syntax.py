"""The text of a recipe, and what can be wrong with it before it is a recipe."""

from __future__ import annotations

import errno
from pathlib import Path

import yaml

from qairt.errors import RecipeError
from qairt.files import open_regular, read_regular

MAX_BYTES = 1_000_000
"""Of a recipe; a model's path given by mistake is not read to its end."""
MAX_VALUES = 10_000
"""Keys and items of lists; a few lines of aliases can expand to billions."""
MAX_DEPTH = 64
"""Mappings and lists inside each other."""

_REMEDIES = (
    ("character '\\t'", "replace the tab by spaces"),
    ("mapping values are not", "check the indentation, and quote a value that contains a colon and a space"),
    ("could not find expected ':'", "write KEY: VALUE"),
    ("could not determine a constructor", "remove the tag: a recipe contains plain values only"),
    ("another document", "write one recipe per file"),
    ("undefined alias", "quote a value that starts with *"),
    ("that cannot start any token", "quote the value"),
    ("expected ',' or", "close the bracket, or add a comma"),
    ("unexpected end of stream", "close the quote"),
)


class RecipeSyntaxError(RecipeError, yaml.YAMLError):
    """The text is not valid YAML, or sets a key twice. For settings that do not exist, see `RecipeError`."""


class RecipeNotFound(RecipeError, FileNotFoundError):  # noqa: N818 - reads as what happened
    """The file does not exist."""

    def __init__(self, path: Path) -> None:
        remedy = "check the path, or write a recipe with `qairt init MODEL`"
        super().__init__("file not found", where=str(path), remedy=remedy)
        self.errno = errno.ENOENT
        self.filename = str(path)


def read_text(path: Path) -> str:
    """A recipe's text.

    Raises:
        RecipeNotFound: the file does not exist; also a `FileNotFoundError`.
        RecipeError: the file cannot be read, or is not UTF-8 text.
    """
    try:
        with open_regular(path) as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise RecipeNotFound(path) from error
    except IsADirectoryError as error:
        raise RecipeError("this is a folder, not a recipe", where=str(path), remedy="name a .yaml file") from error
    except OSError as error:
        remedy = "name a .yaml file" if error.errno == errno.EINVAL else "make it readable"
        raise RecipeError(f"cannot read the file: {error.strerror}", where=str(path), remedy=remedy) from error
    if len(content) > MAX_BYTES:
        what = f"the file has more than {MAX_BYTES:,} bytes, too many for a recipe"
        raise RecipeError(what, where=str(path), remedy="name a .yaml file that describes a run")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise RecipeSyntaxError("the file is not UTF-8 text", where=str(path), remedy="save it as UTF-8") from error


def exact_text(path: Path) -> str:
    """A recipe's text with its line ends, for editing; raises what `read_text` does."""
    read_text(path)  # for its errors
    return read_regular(path).decode()


def too_many(where: str) -> RecipeSyntaxError:
    """More values than `MAX_VALUES`."""
    remedy = "use fewer; an alias counts as what it refers to"
    return RecipeSyntaxError(f"the recipe has more than {MAX_VALUES:,} values", where=where, remedy=remedy)


def too_deep(where: str) -> RecipeSyntaxError:
    """More mappings and lists inside each other than `MAX_DEPTH`."""
    return RecipeSyntaxError(f"the recipe is nested more than {MAX_DEPTH} deep", where=where, remedy="flatten it")


def tab_lines(text: str) -> frozenset[int]:
    """The lines, counted from 0, with a tab in their indentation."""
    lines = text.splitlines()
    return frozenset(index for index, line in enumerate(lines) if "\t" in line[: len(line) - len(line.lstrip())])


def tab_error(name: str, line: int) -> RecipeSyntaxError:
    """A tab where YAML wants spaces."""
    return RecipeSyntaxError("a tab in the indentation", where=f"{name}:{line + 1}", remedy="indent with spaces")


def syntax_error(error: yaml.MarkedYAMLError, name: str, tabs: frozenset[int]) -> RecipeSyntaxError:
    """PyYAML's complaint, with a line and a remedy."""
    problem = " ".join((error.problem or error.context or "").split())
    mark = error.problem_mark or error.context_mark
    if "could not find expected ':'" in problem:
        mark = error.context_mark or mark  # problem_mark is one line too low
    if mark and mark.line in tabs:
        return tab_error(name, mark.line)
    where = f"{name}:{mark.line + 1}" if mark else name
    matching = (remedy for pattern, remedy in _REMEDIES if pattern in problem)
    remedy = next(matching, "check the indentation, quotes and brackets")
    return RecipeSyntaxError(f"this is not valid YAML: {problem}", where=where, remedy=remedy)
