"""How a checkout is built: sizes of files and functions, parameters, shapes, cycles, lines, duplicates.

    python benchmarks/structure.py [CHECKOUT] [--list]

Everything is read from the syntax trees of the packages; nothing is imported. ``--list`` names what is counted.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import re
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PACKAGES = ("spot", "bank", "tasks")
LONG_FUNCTION, LONG_LINE, DUPLICATE_LINES = 50, 100, 3

ARRAY = re.compile(r"\b(Array|ndarray)\b")
SHAPE = re.compile(r"\[(\.\.\.|\w[\w.+*/() ]*)(, *(\.\.\.|\w[\w.+*/() ]*))*\]")
"""``[P, H]`` in a docstring."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclasses.dataclass(frozen=True)
class Module:
    """A source file, read and parsed."""

    name: str
    path: str
    lines: tuple[str, ...]
    tree: ast.Module


@dataclasses.dataclass(frozen=True)
class Function:
    """A function or method, wherever it is defined."""

    module: Module
    qualified: str
    node: Definition
    nested: bool

    @property
    def lines(self) -> int:
        return (self.node.end_lineno or self.node.lineno) - self.node.lineno + 1

    @property
    def parameters(self) -> int:
        """All but ``self`` and ``cls``."""
        arguments = self.node.args
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        return len([name for name in names if name not in ("self", "cls")])

    @property
    def public(self) -> bool:
        return not self.nested and not any(
            part.startswith("_") for part in self.qualified.split(".")
        )

    @property
    def handles_arrays(self) -> bool:
        """Whether an annotation of a parameter or of the result names an array."""
        arguments = self.node.args
        annotations = [
            a.annotation for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        ]
        return any(
            ARRAY.search(ast.unparse(one))
            for one in (*annotations, self.node.returns)
            if one is not None
        )

    @property
    def gives_shape(self) -> bool:
        return bool(SHAPE.search(ast.get_docstring(self.node) or ""))

    @property
    def body(self) -> str:
        """The syntax tree of what it does, its docstring left out; empty where that is too short to compare."""
        statements = self.node.body[1:] if ast.get_docstring(self.node) else self.node.body
        last = self.node.end_lineno or self.node.lineno
        if not statements or last - statements[0].lineno + 1 < DUPLICATE_LINES:
            return ""
        return "\n".join(ast.dump(statement) for statement in statements)

    def __str__(self) -> str:
        return f"{self.module.path}:{self.node.lineno} {self.qualified}"


def read_modules(checkout: Path, packages: Sequence[str] = PACKAGES) -> list[Module]:
    """Every module of the packages below ``checkout``, in the order of their paths."""
    modules = []
    for package in packages:
        for path in sorted((checkout / package).rglob("*.py")):
            relative, source = path.relative_to(checkout), path.read_text(encoding="utf-8")
            name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
            modules.append(
                Module(name, str(relative), tuple(source.splitlines()), ast.parse(source))
            )
    return modules


def functions_of(module: Module) -> Iterator[Function]:
    """Every function of a module with its name inside it."""

    def walk(node: ast.AST, outside: str, nested: bool) -> Iterator[Function]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Definition):
                yield Function(module, outside + child.name, child, nested)
                yield from walk(child, f"{outside}{child.name}.", True)
            elif isinstance(child, ast.ClassDef):
                yield from walk(child, f"{outside}{child.name}.", nested)
            else:
                yield from walk(child, outside, nested)

    return walk(module.tree, "", False)


# -- imports -------------------------------------------------------------------------------------------------


def import_graph(modules: Sequence[Module], *, types: bool) -> dict[str, set[str]]:
    """Which modules each module imports, wherever in it, of those given.

    Args:
        modules: all that may stand in a cycle.
        types: also what only a type checker imports.
    """
    names = {module.name for module in modules}
    graph = {}
    for module in modules:
        targets = set(_targets(module.tree, types))
        known = {target if target in names else target.rpartition(".")[0] for target in targets}
        graph[module.name] = (known & names) - {module.name}
    return graph


def _targets(node: ast.AST, types: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif types or not (
            isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
        ):
            yield from _targets(child, types)


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Sets of modules that import each other, directly or through others: each in the order of their names."""
    reachable: dict[str, set[str]] = {}
    for start in graph:
        reached, waiting = set[str](), [start]
        while waiting:
            new = graph[waiting.pop()] - reached
            reached |= new
            waiting += new
        reachable[start] = reached
    groups = {
        tuple(sorted(other for other in reachable[name] if name in reachable[other]))
        for name in graph
        if name in reachable[name]
    }
    return [list(group) for group in sorted(groups)]


# -- the report ----------------------------------------------------------------------------------------------


def nested_comprehensions(module: Module) -> Iterator[str]:
    """Places of comprehensions that have several ``for`` or stand around another one."""
    for node in ast.walk(module.tree):
        if isinstance(node, COMPREHENSIONS):
            inside = sum(isinstance(other, COMPREHENSIONS) for other in ast.walk(node)) > 1
            if inside or len(node.generators) > 1:
                yield f"{module.path}:{node.lineno}"


def long_lines(module: Module) -> Iterator[str]:
    for number, line in enumerate(module.lines, 1):
        if len(line) > LONG_LINE:
            yield f"{module.path}:{number}"


def duplicates(functions: Sequence[Function]) -> list[str]:
    """Functions whose bodies are the same, one line for each set of them."""
    by_body = defaultdict(list)
    for function in functions:
        if function.body:
            by_body[function.body].append(str(function))
    return [" = ".join(names) for names in by_body.values() if len(names) > 1]


def report(checkout: Path) -> Iterator[tuple[str, object, Sequence[object]]]:
    """Rows of what is counted, the figure, and the things counted."""
    modules = read_modules(checkout)
    functions = [function for module in modules for function in functions_of(module)]
    by_length = sorted(modules, key=lambda module: -len(module.lines))
    longest = sorted(functions, key=lambda function: -function.lines)
    widest = sorted(functions, key=lambda function: -function.parameters)
    arrays = [function for function in functions if function.public and function.handles_arrays]
    shapeless = [function for function in arrays if not function.gives_shape]
    at_run_time = cycles(import_graph(modules, types=False))
    with_types = [
        cycle for cycle in cycles(import_graph(modules, types=True)) if cycle not in at_run_time
    ]

    yield "files", len(modules), ()
    yield "lines", sum(len(module.lines) for module in modules), ()
    yield "median file", statistics.median(len(module.lines) for module in modules), ()
    yield (
        "longest file",
        _largest(by_length[0].path, len(by_length[0].lines)),
        [m.path for m in by_length[:10]],
    )
    yield "functions", len(functions), ()
    yield "median function", statistics.median(function.lines for function in functions), ()
    yield "longest function", _largest(longest[0], longest[0].lines), ()
    long = [
        f"{function.lines} {function}" for function in longest if function.lines > LONG_FUNCTION
    ]
    yield f"functions over {LONG_FUNCTION} lines", len(long), long
    yield (
        "most parameters",
        _largest(widest[0], widest[0].parameters),
        [f"{f.parameters} {f}" for f in widest[:10]],
    )
    share = f"{len(shapeless)} of {len(arrays)} ({len(shapeless) / max(1, len(arrays)):.0%})"
    yield "public array functions without shapes", share, shapeless
    yield "import cycles", len(at_run_time), [" <-> ".join(cycle) for cycle in at_run_time]
    yield (
        "import cycles of types only",
        len(with_types),
        [" <-> ".join(cycle) for cycle in with_types],
    )
    for what, places in (
        (
            f"lines over {LONG_LINE} columns",
            [place for module in modules for place in long_lines(module)],
        ),
        (
            "nested comprehensions",
            [place for module in modules for place in nested_comprehensions(module)],
        ),
        ("duplicate function bodies", duplicates(functions)),
    ):
        yield what, len(places), places


def _largest(name: object, size: int) -> str:
    return f"{size} ({name})"


def main() -> None:
    parser = argparse.ArgumentParser(description="How a checkout is built.")
    parser.add_argument(
        "checkout", type=Path, nargs="?", default=Path(__file__).resolve().parents[1]
    )
    parser.add_argument("--list", action="store_true", help="name what is counted")
    options = parser.parse_args()
    for what, figure, things in report(options.checkout):
        print(f"{what:40}{figure}")
        for thing in things if options.list else ():
            print(f"    {thing}")


if __name__ == "__main__":
    main()
