"""`make house`: figures about the source tree, each with the limit it must keep.

Circles and imports that run up count imports inside functions and under `TYPE_CHECKING` too. Times are the best of
several starts. Exit code 1 when a figure is over its limit.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import grimp
import networkx

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "qairt"
Function = ast.FunctionDef | ast.AsyncFunctionDef


def trees(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(folder.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def nodes(folder: Path, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
    for _, tree in trees(folder):
        yield from (node for node in ast.walk(tree) if isinstance(node, kinds))


def parameters(function: Function) -> int:
    named = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return sum(argument.arg not in ("self", "cls") for argument in named)


def imports_up(graph: grimp.ImportGraph) -> int:
    """Imports from a layer to one above it, by the contract in pyproject.toml."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    depth = {name.strip(): at for at, layer in enumerate(layers) for name in layer.split("|")}
    package = {module: module.split(".")[1] for module in graph.modules if "." in module}
    return sum(
        depth[package[target]] < depth[package[module]]
        for module in package
        for target in graph.find_modules_directly_imported_by(module)
        if target in package
    )


def circles(graph: grimp.ImportGraph) -> int:
    """Groups of modules that import each other; a package's own `__init__` is not counted against its modules."""
    edges = networkx.DiGraph(
        (module, target)
        for module in graph.modules
        for target in graph.find_modules_directly_imported_by(module)
        if not module.startswith(f"{target}.")
    )
    return sum(len(group) > 1 for group in networkx.strongly_connected_components(edges))


def repeated_class_names() -> int:
    modules = defaultdict(set)
    for path, tree in trees(SOURCE):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                modules[node.name].add(path)
    return sum(len(paths) > 1 for paths in modules.values())


def seconds(*command: str) -> float:
    best = float("inf")
    for _ in range(7):
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        best = min(best, time.perf_counter() - started)
    return best


def main() -> int:
    graph = grimp.build_graph("qairt", cache_dir=None)
    functions = [node for node in nodes(SOURCE, ast.FunctionDef, ast.AsyncFunctionDef) if isinstance(node, Function)]
    start_up = seconds("-c", "pass")
    figures = {
        "circles of modules": (circles(graph), 0),
        "imports that run up": (imports_up(graph), 0),
        "files over 15,000 bytes": (sum(path.stat().st_size > 15_000 for path in SOURCE.rglob("*.py")), 2),
        "functions over 60 lines": (sum((node.end_lineno or 0) - node.lineno >= 60 for node in functions), 4),
        "functions of more than 7 parameters": (sum(parameters(node) > 7 for node in functions), 8),
        "Any": (sum(getattr(node, "id", "") == "Any" for node in nodes(SOURCE, ast.Name)), 350),
        "NotImplementedError": (sum("NotImplementedError" in ast.dump(node) for node in nodes(SOURCE, ast.Raise)), 0),
        "class names used twice": (repeated_class_names(), 4),
        "sleeps in tests": (
            sum(ast.unparse(getattr(node, "func", node)).endswith("sleep") for node in nodes(ROOT / "tests", ast.Call)),
            25,
        ),
        "lines of README.md": (len((ROOT / "README.md").read_text().splitlines()), 199),
        "seconds of `import qairt`": (round(seconds("-c", "import qairt") - start_up, 3), 0.1),
        "seconds of `qairt --help`": (round(seconds("-m", "qairt.cli.main", "--help"), 3), 0.15),
    }
    for name, (figure, limit) in figures.items():
        print(f"{name:38} {figure:>7} at most {limit:<6} {'' if figure <= limit else 'OVER'}".rstrip())
    return int(any(figure > limit for figure, limit in figures.values()))


if __name__ == "__main__":
    sys.exit(main())
