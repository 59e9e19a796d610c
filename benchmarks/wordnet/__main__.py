"""Derive small text-to-text tasks from the WordNet 3.0 database files.

    python -m benchmarks.wordnet --wordnet /usr/share/wordnet --out tasks/data/wordnet --baselines

The program reads the database files of WordNet (``data.noun``, ``index.noun``, ``noun.exc`` and so on, as the
Debian package ``wordnet-base`` installs them) and writes one ``<task>.<split>.jsonl`` file for each task and
split. Every line holds the text fields of one example, its ``label`` (the words that a model shall produce)
and the ``synsets`` (WordNet's sets of synonyms) that it was made from.

Two rules make the tasks safe to use together when prompts are transferred from one to another:

* A synset belongs to one split only, and to the same one in every task. An example is made from synsets of
  its own split, so nothing that a task is tested on was seen in the training of any other task.
* Every choice is drawn by a SHA-256 digest of the text it concerns, so the same database gives the same
  bytes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.wordnet.baselines import baselines
from benchmarks.wordnet.database import read_wordnet
from benchmarks.wordnet.tasks import TASKS, build_task, supervised_rows
from benchmarks.wordnet.texts import corpus_lines, licence_text


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes a text file with the same line ends on every system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def build(
    database: Path,
    out: Path,
    corpus: Path | None,
    supervised: Path | None = None,
    rows: int = 20_000,
) -> None:
    """Writes the task files, their licence and, if asked, the corpus and the supervised examples."""
    wordnet = read_wordnet(database)
    if supervised is not None:
        larger = supervised_rows(wordnet, rows)
        write_lines(supervised, (json.dumps(row, ensure_ascii=False) for row in larger))
    for task in TASKS:
        for split, examples in build_task(wordnet, task).items():
            lines = (json.dumps(example.row, ensure_ascii=False) for example in examples)
            write_lines(out / f"{task.name}.{split}.jsonl", lines)
    write_lines(out / "LICENSE", licence_text(database).splitlines())
    if corpus is not None:
        write_lines(corpus, corpus_lines(wordnet))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.wordnet",
        description="Derive small text-to-text tasks from WordNet 3.0.",
    )
    parser.add_argument(
        "--wordnet", type=Path, help="folder of the WordNet 3.0 database files to build from"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the task files")
    parser.add_argument(
        "--corpus", type=Path, help="also write the training synsets' glosses to this file"
    )
    parser.add_argument(
        "--supervised", type=Path, help="also write larger training sets to this file"
    )
    parser.add_argument("--rows", type=int, default=20_000, help="examples of a task in that file")
    parser.add_argument("--baselines", action="store_true", help="recompute baselines.json")
    options = parser.parse_args(arguments)
    if options.wordnet is None and (options.corpus is not None or not options.baselines):
        parser.error("--wordnet is needed unless only --baselines are recomputed")
    if options.wordnet is not None:
        build(options.wordnet, options.out, options.corpus, options.supervised, options.rows)
    if options.baselines:
        report = json.dumps(baselines(options.out), indent=2)
        write_lines(options.out / "baselines.json", report.splitlines())


if __name__ == "__main__":
    main()
