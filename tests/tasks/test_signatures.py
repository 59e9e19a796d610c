"""Signatures of tasks' texts: shares of examples by hashed words, and nothing else of the texts."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

from bank.records import SIGNATURE
from tasks import Mixture, Task, get_task
from tasks.signatures import BUCKETS, EXAMPLES, signature, task_signature
from tasks.task import Example


def bucket(word: str) -> int:
    return zlib.crc32(word.encode()) % BUCKETS


def example(inputs: str, target: str) -> Example:
    return Example(inputs=inputs, target=target)


def task(folder: Path, name: str, texts: list[str]) -> Task:
    """A task of these texts, all of one label."""
    lines = "\n".join(json.dumps({"x": text, "label": "0"}) for text in texts)
    (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    parts = "".join(f'{split} = "{name}.jsonl"\n' for split in ("train", "dev", "test"))
    path = folder / f"{name}.toml"
    path.write_text(
        f'name = "{name}"\nmetrics = ["accuracy"]\n[data]\n{parts}'
        '[format]\ntemplate = "x: {x}"\nlabel = "label"\n[labels]\n0 = "yes"\n',
        encoding="utf-8",
    )
    return get_task(str(path))


def test_a_signature_is_the_share_of_examples_that_hold_a_word_once_or_often() -> None:
    found = signature([example("Wings, wings; a bird!", "yes"), example("a fish", "yes no")])
    expected = {"wings": 0.5, "a": 1.0, "bird": 0.5, "fish": 0.5, "\0yes": 1.0, "\0no": 0.5}
    assert (found.dtype, found.shape) == (np.float16, (BUCKETS,))
    assert {word: float(found[bucket(word)]) for word in expected} == expected
    assert np.count_nonzero(found) == len(expected)


def test_a_word_of_a_target_is_another_than_that_of_an_input() -> None:
    (of_input,), (of_target,) = (
        np.flatnonzero(signature([one])) for one in (example("good", ""), example("", "good"))
    )
    assert (of_input, of_target) == (bucket("good"), bucket("\0good"))
    assert of_input != of_target


def test_order_leaves_no_trace_in_a_signature() -> None:
    examples = [example(f"{i} before {j}", str(i)) for i in range(9) for j in range(9)]
    turned = [example(f"{j} before {i}", str(i)) for i in range(9) for j in range(9)][::-1]
    assert np.array_equal(signature(examples), signature(turned))


def test_no_examples_have_a_signature_of_zeros() -> None:
    assert not signature([]).any()


def test_a_tasks_signature_is_of_its_few_training_examples_and_a_mixtures_the_mean(
    tmp_path: Path,
) -> None:
    wings = task(tmp_path, "wings", [f"wing {i}" for i in range(20)])
    fins = task(tmp_path, "fins", [f"fin {i}" for i in range(2 * EXAMPLES)])
    assert task_signature(wings)[bucket("wing")] == 1
    assert np.count_nonzero(task_signature(wings, limit=4)) == 4 + len({"x", "wing", "\0yes"})
    shares = task_signature(fins)
    singles = shares[[bucket(str(i)) for i in range(2 * EXAMPLES)]]
    assert shares[bucket("fin")] == 1
    assert np.count_nonzero(singles) > EXAMPLES / 2
    both = task_signature(Mixture(name="both", members=(wings, fins)))
    assert both[bucket("x")] == 1.0
    assert np.allclose(both, (task_signature(wings) + task_signature(fins)) / 2, atol=1e-3)
    assert 0.5 <= min(both[bucket("wing")], both[bucket("fin")]) < 0.51


def test_a_bank_expects_as_many_numbers_as_a_signature_has() -> None:
    assert SIGNATURE == BUCKETS
