"""Who may import whom, read from the syntax trees; and what a light command must not load."""

from __future__ import annotations

import ast
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bank import BackboneRecord, TaskRecord
from bank.files import import_prompt
from bank.store import Bank
from benchmarks.structure import cycles, import_graph, read_modules
from spot.prompts.write import write_prompt

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("bank", "spot", "tasks")

FLOORS = {
    "backbone": 1,
    "prompts": 2,
    "inference": 3,
    "training": 4,
    "retrieval": 5,
    "analysis": 6,
    "transfer": 6,
    "serving": 7,
    "study": 7,
    "cli": 8,
}
"""Rooms of ``spot``: each imports itself and what lies below, never its neighbour or what lies above."""

COMMON_GROUND = {"spot.errors", "spot.paths", "spot.__version__"}

KNOW_NO_BANK = (
    "spot.backbone",
    "spot.inference",
    "spot.training.checkpoint",
    "spot.training.loop",
    "spot.training.optimizers",
    "spot.training.step",
)

SQL = {"alembic", "sqlalchemy"}
JAX = {"flax", "jax", "jaxlib", "optax"}
HEAVY = JAX | {"scipy", "sklearn", "tensorboardX", "torch", "transformers"}

LATE = {
    "alembic",
    "datasets",
    "gguf",
    "huggingface_hub",
    "matplotlib",
    "ml_dtypes",
    "msgpack",
    "pyarrow",
    "safetensors",
    "scipy",
    "sentencepiece",
    "sklearn",
    "tensorboardX",
    "tokenizers",
    "transformers",
}
"""Optional or heavy: these may be imported where they are used."""


@dataclasses.dataclass(frozen=True)
class Import:
    """``importer`` imports ``target``, a module or a name in one."""

    importer: str
    line: int
    target: str
    late: bool
    types_only: bool

    @property
    def top(self) -> str:
        return self.target.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


def imports_of(module: str, source: str) -> Iterator[Import]:
    """Every import of a module, wherever it stands in it."""

    def walk(node: ast.AST, late: bool, types_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                targets = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                start = "." * child.level + (child.module or "")
                targets = [f"{start}.{alias.name}" for alias in child.names]
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                typing = isinstance(child, ast.If) and ast.unparse(child.test).endswith(
                    "TYPE_CHECKING"
                )
                yield from walk(child, late or inside, types_only or typing)
                continue
            for target in targets:
                yield Import(module, child.lineno, target, late, types_only)

    return walk(ast.parse(source), False, False)


def all_imports() -> list[Import]:
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found += imports_of(module, path.read_text(encoding="utf-8"))
    return found


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


# -- the rules -----------------------------------------------------------------------------------------------


def relative(found: Import) -> bool:
    return found.target.startswith(".")


def between_packages(found: Import) -> bool:
    """``bank`` and ``tasks`` know only themselves."""
    return found.importer.partition(".")[0] in {"bank", "tasks"} and (
        found.top in PACKAGES and not within(found.importer, found.top)
    )


def uphill(found: Import) -> bool:
    """``spot`` itself is a window: what it shows by name is imported when first used."""
    if not within(found.importer, "spot") or found.top != "spot":
        return False
    if found.importer == "spot":
        return not found.types_only
    if within(found.target, *COMMON_GROUND):
        return False
    here, there = ((*name.split("."), "")[1] for name in (found.importer, found.target))
    if there not in FLOORS or here not in FLOORS:
        return True
    return here != there and FLOORS[here] <= FLOORS[there]


def bank_in_the_loop(found: Import) -> bool:
    return within(found.importer, *KNOW_NO_BANK) and found.top in SQL | {"bank"}


def sql_outside_the_bank(found: Import) -> bool:
    return found.top in SQL and not within(found.importer, "bank")


def jax_outside_spot(found: Import) -> bool:
    return found.top in JAX and within(found.importer, "bank", "tasks")


def late(found: Import) -> bool:
    # `spot bank tasks` needs no arrays
    allowed = LATE | ({"numpy"} if within(found.importer, "bank") else set())
    return found.late and not within(found.importer, "spot.cli") and found.top not in allowed


RULES = (
    relative,
    between_packages,
    uphill,
    bank_in_the_loop,
    sql_outside_the_bank,
    jax_outside_spot,
    late,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_import_keeps_to_the_rule(rule: object) -> None:
    assert callable(rule)
    found = all_imports()
    assert len(found) > 100
    assert [str(one) for one in found if rule(one)] == []


@pytest.mark.parametrize("types", [False, True], ids=["at run time", "for types"])
def test_no_module_imports_itself_through_others(types: bool) -> None:
    modules = read_modules(ROOT, PACKAGES)
    assert len(modules) > 100
    assert cycles(import_graph(modules, types=types)) == []


def test_a_cycle_is_seen_wherever_its_imports_stand(tmp_path: Path) -> None:
    sources = {
        "first": "from p import second",
        "second": "def f():\n    import p.third",
        "third": "if TYPE_CHECKING:\n    from p.first import name",
        "fourth": "from p.first import name",
    }
    (tmp_path / "p").mkdir()
    for name, source in sources.items():
        (tmp_path / "p" / f"{name}.py").write_text(source, encoding="utf-8")
    modules = read_modules(tmp_path, ["p"])
    assert cycles(import_graph(modules, types=False)) == []
    assert cycles(import_graph(modules, types=True)) == [["p.first", "p.second", "p.third"]]


def test_every_room_has_its_floor() -> None:
    rooms = {path.parent.name for path in (ROOT / "spot").glob("*/*.py")} - {"assets"}
    assert rooms <= set(FLOORS)


@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (relative, "spot.cli.main", "from . import bank"),
        (between_packages, "bank.store", "import tasks.task"),
        (between_packages, "tasks.task", "from spot import errors"),
        (uphill, "spot.backbone.load", "from spot.training.loop import fit"),
        (uphill, "spot.training.loop", "if TYPE_CHECKING:\n    from spot.cli import main"),
        (uphill, "spot.inference.predict", "def f():\n    from spot import predict"),
        (uphill, "spot.transfer.runs", "import spot.analysis.norms"),
        (uphill, "spot", "import spot.errors"),
        (bank_in_the_loop, "spot.training.loop", "from bank.vectors import average"),
        (bank_in_the_loop, "spot.backbone.load", "import sqlalchemy.orm"),
        (sql_outside_the_bank, "spot.transfer.runs", "from sqlalchemy import select"),
        (jax_outside_spot, "tasks.pipeline", "import jax.numpy as jnp"),
        (late, "spot.training.loop", "def f():\n    class C:\n        import json"),
    ],
)
def test_the_rules_see_what_breaks_them(rule: object, module: str, source: str) -> None:
    assert callable(rule)
    assert [one for one in imports_of(module, source) if rule(one)]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("spot.cli.main", "def f():\n    from spot.transfer import runs"),
        ("spot.training.recipe", "from bank.identity import digest"),
        ("spot.backbone.load", "from spot import errors, paths\nfrom spot.backbone import t5"),
        ("spot", "if TYPE_CHECKING:\n    from spot.cli import main"),
        ("tasks.metrics", "def f():\n    import sklearn.metrics"),
    ],
)
def test_the_rules_let_pass_what_keeps_to_them(module: str, source: str) -> None:
    assert not [one for one in imports_of(module, source) if any(rule(one) for rule in RULES)]


# -- what is loaded ------------------------------------------------------------------------------------------

LOADED = """
import json, sys
from spot.cli.main import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["spot", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
sys.stderr.write(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def loaded_by(*commands: list[str]) -> set[str]:
    """Top-level packages that a process has loaded after these commands."""
    answer = subprocess.run(
        [sys.executable, "-c", LOADED, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(answer.stderr))


def test_help_loads_neither_jax_nor_the_bank() -> None:
    loaded = loaded_by(
        ["--help"], ["bank", "--help"], ["train-source", "--help"], ["tasks", "--help"]
    )
    assert "typer" in loaded
    assert not loaded & (HEAVY | SQL | {"numpy"})


def test_commands_about_the_bank_and_tasks_load_no_jax(tmp_path: Path) -> None:
    path, prompt = str(tmp_path / "bank.sqlite"), tmp_path / "prompt.npy"
    write_prompt(prompt, np.ones((3, 4)))
    with Bank.open(path) as bank:
        model = BackboneRecord(fingerprint="f" * 64, name="toy", width=4)
        run = import_prompt(
            bank,
            np.ones((3, 4), np.float32),
            task=TaskRecord(name="sst2", family="toy"),
            backbone=model,
        )
    commands = [["bank", name] for name in ("tasks", "runs", "prompts", "transfers", "verify")]
    commands += [
        ["bank", "show", run],
        ["bank", "export", run, str(tmp_path / "out.safetensors")],
        ["bank", "import", str(prompt), "--task", "mrpc", "--backbone", "toy"],
        ["bank", "tag", run, "v1"],
        ["bank", "remove", "sst2@v1"],
        ["bank", "restore", run],
        ["bank", "purge"],
        ["bank", "push", str(tmp_path / "out")],
        ["bank", "pull", str(tmp_path / "out")],
        ["bank", "card"],
        ["retrieve", "--query", str(prompt)],
    ]
    loaded = loaded_by(*([*command, "--bank", path] for command in commands[:-1]), ["tasks"])
    assert {"sqlalchemy", "numpy"} <= loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("room", ["prompts", "inference", "training"])
def test_what_trains_loads_no_sql(room: str) -> None:
    modules = [f"spot.{room}.{path.stem}" for path in sorted((ROOT / "spot" / room).glob("*.py"))]
    names = ", ".join(module.removesuffix(".__init__") for module in modules)
    script = (
        f"import sys, {names}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not set(answer.stdout.split()) & SQL
