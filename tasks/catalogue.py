"""The built-in tasks as a page: ``python -m tasks.catalogue > docs/tasks.md``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from tasks.definitions import WORDNET_FIELDS
from tasks.facts import FACTS, Facts
from tasks.mixture import CAP, MIXTURES
from tasks.registry import registry
from tasks.sources import Hub
from tasks.task import Part, Split, Task

UNKNOWN = "not known"

WORDNET_LICENCE = "WordNet 3.0's"

HEAD = f"""# Tasks

Made by `python -m tasks.catalogue > docs/tasks.md`.

Sizes are rows as published; {UNKNOWN} where no paper or card that was at hand says them. What is cut from a part is cut
by a hash of its rows, or of what they share. Official files lie in a folder that `--data-dir` or `SPOT_DATA` names;
without it data comes from the Hugging Face hub, from a commit, or from a branch where no commit was known: what is
read from there may change. `spot tasks NAME` shows a task's first examples.
"""

COMMIT = re.compile("[0-9a-f]{40}")

Lines = Iterator[str]


def catalogue() -> str:
    """The page."""
    families: dict[str, list[Task]] = {}
    for task in registry().values():
        families.setdefault(task.family, []).append(task)
    lines = [HEAD, "| family | tasks |", "|---|---|"]
    for family in sorted(families):
        links = ", ".join(f"[{task.name}](#{task.name})" for task in families[family])
        lines.append(f"| {family} | {links} |")
    for family in sorted(families):
        lines += ["", f"## Family {family}"]
        for task in families[family]:
            lines += ["", f"### {task.name}", "", *_facts(task)]
    return "\n".join([*lines, "", *_mixtures()]) + "\n"


def _facts(task: Task) -> Lines:
    facts = FACTS.get(task.name) or _of_package(task)
    hub = task.source.hub
    yield f"* splits: {'; '.join(_split(split, task.splits[split], facts) for split in Split)}"
    yield f"* metrics: {', '.join(task.metrics)}"
    yield f"* input: `{facts.inputs}`"
    yield f"* answers: {', '.join(f'`{label}`' for label in task.labels) or facts.answer}"
    yield f"* files: {_files(task)}"
    yield f"* hub: {_hub(task, hub) if hub else 'none'}"
    yield f"* licence: {facts.licence or UNKNOWN}"
    if task.notes:
        yield f"* {task.notes}"


def licences_of() -> dict[str, str]:
    """Licences of the data of built-in tasks, in words, as far as they are known."""
    of_package = dict.fromkeys(WORDNET_FIELDS, WORDNET_LICENCE)
    return of_package | {name: facts.licence for name, facts in FACTS.items() if facts.licence}


def _split(split: Split, part: Part, facts: Facts) -> str:
    share = "" if part.whole else f"{part.high - part.low:.0%} of "
    rows = facts.rows.get(part.name)
    size = f"{rows:,} {facts.unit}" if rows else UNKNOWN
    return f"{split.value} is {share}`{part.name}` ({size})"


def _of_package(task: Task) -> Facts:
    """Facts of a task whose files come with the package."""
    examples = {split: task.examples(split) for split in Split}
    return Facts(
        inputs=examples[Split.TEST][0].inputs,
        rows={split.value: len(found) for split, found in examples.items()},
        licence=WORDNET_LICENCE,
        answer="one of the choices" if examples[Split.TEST][0].choices else "a text",
    )


def _files(task: Task) -> str:
    files = task.source.files
    if all(path.is_absolute() for path in files.values()):
        return "in the package"
    return ", ".join(f"`{path.as_posix()}`" for path in dict.fromkeys(files.values()))


def _hub(task: Task, hub: Hub) -> str:
    page = f"[{hub.path}](https://huggingface.co/datasets/{hub.path})"
    place = " ".join(f"`{name}`" for name in (hub.config, hub.folder) if name)
    where = ", ".join(f"{column} {value}" for column, value in hub.where.items())
    kind = "commit" if COMMIT.fullmatch(hub.revision) else "branch"
    read = [hub.parts[part.name] for part in task.splits.values() if part.name in hub.parts]
    parts = ", ".join(dict.fromkeys(read))
    rows = ", streamed" if hub.streaming else ""
    named = " ".join(name for name in (page, place, where) if name)
    return f"{named}, {kind} `{hub.revision}`, parts {parts}{rows}"


def _mixtures() -> Lines:
    yield "## Mixtures"
    yield ""
    yield f"Examples of a member count up to {CAP:,}. A file of your own may set `cap` and `temperature`."
    yield ""
    yield "| mixture | members |"
    yield "|---|---|"
    for name, members in MIXTURES.items():
        yield f"| {name} | {', '.join(f'[{member}](#{member})' for member in members)} |"


if __name__ == "__main__":
    sys.stdout.write(catalogue())
