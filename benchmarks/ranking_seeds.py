"""How much a ranking depends on which seeds the sources were trained with.

    python benchmarks/ranking_seeds.py BANK [--backbone tiny]

Every target of the bank ranks its sources many times, each time with one key a source, of a seed drawn at random, as
happens where sources were trained at different times. Printed by measure: the mean rank correlation between two such
rankings, and how often the first source is the first of the ranking over all seeds of sources and target together.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
from scipy import stats
from sqlalchemy import select

from bank import Bank, schema
from bank.sessions import reading
from bank.vectors import average
from spot.backbone.load import load_backbone
from spot.prompts.initializers import make_initializer
from spot.retrieval.keys import Context, KeySet
from spot.retrieval.measures import MEASURES
from spot.retrieval.query import Query

DRAWS = 40


def queries_of(bank: Bank) -> dict[str, list[tuple[int, np.ndarray]]]:
    """Seed and early prompt of every target's runs without transfer."""
    query = (
        select(schema.Task.name, schema.Run.seed, schema.Prompt.sha256)
        .join(schema.Run, schema.Run.task_id == schema.Task.id)
        .join(schema.Run.snapshots)
        .join(schema.Snapshot.prompt)
        .where(schema.Run.role == "baseline", schema.Snapshot.kind == "key")
        .order_by(schema.Task.name, schema.Run.seed)
    )
    found: dict[str, list[tuple[int, np.ndarray]]] = {}
    with reading(bank.engine) as session:
        rows = session.execute(query).all()
    for task, seed, address in rows:
        found.setdefault(task, []).append((seed, bank.prompt(address)))
    return found


def one_each(scores: np.ndarray, keys: KeySet, rng: np.random.Generator) -> list[float]:
    """Score of a key of every source, its seed drawn at random."""
    groups = keys.every_seed
    return [float(scores[rng.choice(rows)]) for rows in np.split(groups.rows, groups.begins[1:])]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bank")
    parser.add_argument("--backbone", default="tiny")
    options = parser.parse_args()
    backbone, rng = load_backbone(options.backbone), np.random.default_rng(0)
    measures = [
        name
        for name, measure in MEASURES.items()
        if measure.needs in ("", "starts") and name != "seed_centred"
    ]
    with Bank.open(options.bank, create=False) as bank:
        (partition,) = bank.partitions()
        initializer = make_initializer("vocabulary", backbone, partition.prompt_length)
        context = Context(start=lambda seed: average(initializer(seed)))
        agreement: dict[str, list[float]] = {name: [] for name in measures}
        kept: dict[str, list[float]] = {name: [] for name in measures}
        for target, queries in queries_of(bank).items():
            keys = KeySet.from_bank(bank, partition, exclude=[target], context=context)
            for name in measures:
                scores = np.array(
                    [MEASURES[name](Query(q, context.start(seed)), keys) for seed, q in queries]
                )
                whole = keys.every_seed.mean(scores.mean(axis=0))
                drawn = [
                    one_each(scores[rng.integers(len(scores))], keys, rng) for _ in range(DRAWS)
                ]
                kept[name] += [float(np.argmax(one) == np.argmax(whole)) for one in drawn]
                agreement[name] += [
                    float(stats.spearmanr(one, other).statistic)
                    for one, other in itertools.pairwise(drawn)
                ]
    for name in measures:
        print(
            f"{name:14s} rank correlation {np.mean(agreement[name]):5.2f}, same first {np.mean(kept[name]):4.0%}"
        )


if __name__ == "__main__":
    main()
