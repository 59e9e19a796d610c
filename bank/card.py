"""The card of a published bank: Markdown for people, with the front matter that hubs read."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bank.cells import cut
from bank.listing import FLOOR
from bank.manifest import Published
from bank.publish import LICENCE
from bank.repository import CARD, MANIFEST, PROMPTS

LIBRARY = "spot-prompt-transfer"

TAGS = ("soft-prompt", "prompt-tuning", "prompt-transfer")

UNKNOWN = "not stated"

SHOWN = (
    "init", "optimizer", "batch_size", "steps", "max_input", "max_target", "train_limit", "dev_limit", "dtype", "form",
)  # fmt: skip
"""Options of a recipe that its row shows, where it has them."""


def card_of(content: Published, name: str, source: str) -> str:
    """The card as Markdown.

    Args:
        content: what it is about.
        name: title.
        source: what to give to ``spot bank pull``.
    """
    sections = [
        _front_matter(content),
        f"# {_text(name)}",
        _summary(content),
        "## How to use",
        _usage(content, source),
        "## Tasks",
        _table(_task_rows(content)),
        "## Recipes",
        _table(_recipe_rows(content)),
        "## Lineage",
        _lineage(content),
        *_evidence(content),
        "## Licences of the data",
        _table(_licence_rows(content)),
        "## Files",
        f"`{PROMPTS}` holds every prompt `[..., P, H]` float32 by its address, the sha256 of its shape and bytes; "
        f"`{MANIFEST}` everything else; `{CARD}` is made from both by `spot bank push` {content.program}. "
        "Nothing is pickled.",
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(content: Published) -> str:
    """YAML; JSON's texts and lists are YAML's too."""
    bases = sorted({row["name"] for row in content.rows["backbones"]})
    named = [base for base in bases if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", base)]
    families = sorted({row["family"] for row in content.rows["tasks"]})
    lines = [f"library_name: {LIBRARY}"]
    if named:
        lines.append(f"base_model: {json.dumps(named[0] if len(named) == 1 else named)}")
    lines.append(f"tags: {json.dumps([*TAGS, *families], ensure_ascii=False)}")
    return "\n".join(["---", *lines, "---"])


def _summary(content: Published) -> str:
    runs, seeds = content.rows["runs"], {run["seed"] for run in content.rows["runs"]}
    shapes = {tuple(content.arrays[s["prompt"]].shape) for run in runs for s in run["snapshots"]}
    listed = ", ".join(str(list(shape)) for shape in sorted(shapes))
    lines = [
        f"A bank of soft prompts: {len(runs)} runs of {len(content.rows['tasks'])} tasks with {len(seeds)} "
        f"seed{'s'[: len(seeds) > 1]}, prompts {listed} float32. Of every run there are two: an early *key*, by which "
        "a source is found, and its best *value*, from which a new task starts.",
        _table(
            {
                "backbone": row["name"],
                "fingerprint": f"`{row['fingerprint']}`",
                "width": row["width"],
            }
            for row in content.rows["backbones"]
        ),
    ]
    return "\n\n".join(lines)


def _usage(content: Published, source: str) -> str:
    backbone = content.rows["backbones"][0]["name"]
    best = max(content.rows["runs"], key=lambda run: run["score"])["task"]
    commands = [
        f"spot bank pull {_word(source)}",
        f"spot transfer TARGET --backbone {_word(backbone)}     # your task; the nearest sources are found",
        f"spot predict {_word(best)} --prompt {_word(f'{best}@best')} --backbone {_word(backbone)}",
    ]
    block = "\n".join(["```console", *(f"$ {command}" for command in commands), "```"])
    return (
        f"{block}\n\nKeys rank queries of their own backbone and recipe alone, which are told below; "
        "`spot bank runs` lists what was pulled, and `spot bank verify` checks it."
    )


def _task_rows(content: Published) -> Iterator[dict[str, Any]]:
    for task in content.rows["tasks"]:
        runs = [run for run in content.rows["runs"] if run["task"] == task["name"]]
        for role in dict.fromkeys(run["role"] for run in runs):
            some = [run for run in runs if run["role"] == role]
            best = max(some, key=lambda run: run["score"])
            yield {
                "task": task["name"],
                "family": task["family"],
                "role": role,
                "seeds": ", ".join(map(str, sorted({run["seed"] for run in some}))),
                "metric": best["metric"],
                "dev, best": best["score"],
                "dev, mean": statistics.fmean(run["score"] for run in some),
                FLOOR: best["environment"].get(FLOOR),
                "test": _test_score(some),
                "best run": f"`{best['digest'][:12]}`",
                "tags": ", ".join(sorted({tag["name"] for run in some for tag in run["tags"]})),
            }


def _test_score(runs: Sequence[Mapping[str, Any]]) -> str:
    """Mean over runs of what their last evaluations say, by metric."""
    last = [run["evaluations"][-1]["metrics"] for run in runs if run["evaluations"]]
    names = [
        name for name in dict.fromkeys(n for m in last for n in m) if all(name in m for m in last)
    ]
    return ", ".join(f"{name} {statistics.fmean(m[name] for m in last):.1f}" for name in names)


def _recipe_rows(content: Published) -> Iterator[dict[str, Any]]:
    backbones = content.by_name("backbones")
    for recipe in content.rows["recipes"]:
        options = {name: recipe["options"][name] for name in SHOWN if name in recipe["options"]}
        yield {
            "recipe": f"`{recipe['digest'][:12]}`",
            "backbone": backbones[recipe["backbone"]]["name"],
            "tokens": recipe["prompt_length"],
            "key step": recipe["key_step"],
            "family": f"`{recipe['family'][:12]}`",
            "settings": ", ".join(f"{name} {_setting(value)}" for name, value in options.items()),
        }


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {item}" for name, item in value.items())
    return str(value)


def _lineage(content: Published) -> str:
    values = {
        snapshot["prompt"]: run
        for run in content.rows["runs"]
        for snapshot in run["snapshots"]
        if snapshot["kind"] == "value"
    }
    rows = []
    for run in content.rows["runs"]:
        if run["started_from"]:
            source = values.get(run["started_from"])
            rows.append(
                {
                    "run": f"`{run['digest'][:12]}`",
                    "task": run["task"],
                    "seed": run["seed"],
                    "started from prompt": f"`{run['started_from'][:12]}`",
                    "of": f"{source['task']}, seed {source['seed']}"
                    if source
                    else "not published here",
                }
            )
    others = len(content.rows["runs"]) - len(rows)
    told = f"{others} of {len(content.rows['runs'])} runs started from their recipe's initialiser."
    return "\n\n".join([told, _table(rows)] if rows else [told])


def _evidence(content: Published) -> Iterator[str]:
    transfers = content.rows["transfers"]
    if transfers:
        targets = sorted({row["task"] for row in transfers})
        yield "## Evidence"
        yield (
            f"{len(transfers)} transfers to {', '.join(map(_text, targets))}, from which `--similarity evidence` ranks."
        )


def _licence_rows(content: Published) -> Iterator[dict[str, Any]]:
    for task in content.rows["tasks"]:
        words = task["description"].get(LICENCE, UNKNOWN)
        yield {"task": task["name"], "licence": words if isinstance(words, str) else cut(words)}


# -- Markdown ------------------------------------------------------------------------------------------------------


def _table(rows: Iterable[Mapping[str, Any]]) -> str:
    """A table without the columns in which no row has anything."""
    rows = list(rows)
    columns = [name for name in rows[0] if any(row[name] not in (None, "") for row in rows)]
    lines = [
        columns,
        ["---"] * len(columns),
        *([_cell(row[name]) for name in columns] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if isinstance(value, float) else _text(str(value))


def _text(text: str) -> str:
    """A text on one line that is no table's column, no tag and no link, whatever stands in it."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return re.sub(r"([|<>\[\]*\\])", r"\\\1", line)


def _word(text: str) -> str:
    """A word of a command line, quoted where it needs to be."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if re.fullmatch(r"[\w@%+=:,./-]+", line) else "'" + line.replace("'", "'\\''") + "'"
