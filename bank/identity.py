"""What makes two recipes, runs or transfers the same: every digest of a bank is computed here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

DIGEST = 64
"""Characters of a whole digest or address."""

ENSEMBLE = "ensemble"
"""Entry of a recipe's options: how several prompts answer together."""

OF_ENSEMBLE = f'%"{ENSEMBLE}":%'
"""What the JSON of such options is like in SQL."""

IMPORTED = "imported"
"""Method of a transfer that trained nothing: what others measured of a target and its sources."""


def digest(*parts: Any) -> str:
    """sha256 of JSON-able parts, independent of the order of mappings."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


FIRST = (
    "prompt_length", "init", "optimizer", "batch_size", "steps", "key_step", "evaluate_every", "patience", "max_input",
    "max_target", "train_limit", "dev_limit", "evaluate_by", "dtype",
)  # fmt: skip
"""Options of a recipe that the first release had. Options that came later stand in a recipe only where they differ from
their defaults, and then shape its family, but for those of ``LATER_HARMLESS``."""

LATER_HARMLESS = ("evaluate_spacing", "curve_limit", "sample")
"""Options that came later and do not shape a prompt up to its key step: when a run is evaluated, on what beside, and
which examples are drawn, as the data's digest tells."""

SHAPING = ("init", "optimizer", "batch_size", "max_input", "max_target", "dtype")
"""Those of them that shape a prompt up to its key step."""


def recipe_family(options: Mapping[str, Any]) -> str:
    """Digest of the options that shape a prompt up to its key step: keys of one family can be compared.

    Raises:
        KeyError: options that are not those of a recipe, such as an imported prompt's.
    """
    added = {name: value for name, value in options.items() if _came_later(name)}
    return digest(
        *(options[name] for name in SHAPING), _decay(options), *([added] if added else [])
    )


def _came_later(name: str) -> bool:
    """Whether an option came after the first release and shapes keys."""
    return name not in FIRST and name not in LATER_HARMLESS


def _decay(options: Mapping[str, Any]) -> Any:
    """A decaying schedule reaches the key step at another rate when the run is longer."""
    return options["steps"] if options["optimizer"]["schedule"] in ("linear", "cosine") else None


def differing(options: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The options by which keys of two recipes cannot be compared, with what each says; ``None`` where it is silent.

    Options of the optimiser stand beside the others, its name as ``optimizer``.
    """
    mine, theirs = _comparable(options), _comparable(other)
    names = dict.fromkeys([*mine, *theirs])
    return {
        name: (mine.get(name), theirs.get(name))
        for name in names
        if mine.get(name) != theirs.get(name)
    }


def _comparable(options: Mapping[str, Any]) -> dict[str, Any]:
    shaping = {
        name: value
        for name, value in options.items()
        if name in ("prompt_length", "key_step", *SHAPING) or _came_later(name)
    }
    optimizer = shaping.pop("optimizer", {})
    if "schedule" in optimizer and _decay(options) is not None:
        shaping["steps"] = options["steps"]
    return shaping | {
        "optimizer" if name == "name" else name: value for name, value in optimizer.items()
    }


def recipe_digest(
    fingerprint: str, prompt_length: int, key_step: int, family: str, options: Mapping[str, Any]
) -> str:
    """Two recipes are the same where backbone, length, key step, family and all options are."""
    return digest(fingerprint, prompt_length, key_step, family, dict(options))


def by_name(backbone: str) -> str:
    """What stands in for the fingerprint of a backbone of which no more than the name is known."""
    return digest("by name", backbone)


def recycler_digest(source: str, target: str, method: str, numbers: bytes) -> str:
    """Two maps are the same where the fingerprints of their backbones, method and numbers are."""
    return digest("recycler", source, target, method, hashlib.sha256(numbers).hexdigest())


def run_digest(
    recipe: str, task: str, data: str, seed: int, role: str, started_from: str | None
) -> str:
    """Two runs are the same where recipe, task, training data, seed, role and starting prompt are."""
    return digest(recipe, task, data, seed, role, started_from)


def transfer_digest(
    task: str,
    method: str,
    similarity: str,
    seed: int,
    budget: str,
    *,
    options: Mapping[str, Any],
    query: str,
    baseline: str | None,
    chosen: str,
    starts: Sequence[tuple[str, float]],
) -> str:
    """What makes two transfers the same: all that was asked for, the runs, and the sources with their weights."""
    asked = [task, method, similarity, seed, budget, dict(options)]
    return digest("transfer", *asked, query, baseline, chosen, [list(start) for start in starts])


def first_transfer_digest(
    task: str,
    method: str,
    similarity: str,
    seed: int,
    budget: str,
    *,
    query: str,
    sources: Sequence[str],
) -> str:
    """The first release's, which leaves out options, so that others can share it; transfers that it stored keep it."""
    spent = [] if budget == "full" else [budget]
    return digest(task, method, similarity, seed, query, list(sources), *spent)


def imported_digest(query: str) -> str:
    """What others measured of a target and seed is one transfer, named by the target's query run."""
    return digest(IMPORTED, query)
