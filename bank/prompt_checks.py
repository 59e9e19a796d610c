"""Whether prompts have the numbers that their addresses and key vectors say, and belong to their snapshots."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from bank.cells import as_bytes
from bank.contents import Contents, Problems, Row, guarded
from bank.errors import reason
from bank.vectors import belong, prompt_sha256

if TYPE_CHECKING:
    import numpy as np

AT_ONCE = 8
"""Prompts whose numbers are computed with together: as many as a processor's caches hold."""

PROMPTS = """
SELECT prompt.id, prompt."values", key_vectors.average, key_vectors.average_normalized
FROM prompt LEFT JOIN key_vectors ON key_vectors.prompt_id = prompt.id
ORDER BY prompt.id
"""


def out_of_order(contents: Contents) -> Problems:
    """Snapshots whose prompts were exchanged: a file numbers prompts in the order in which snapshots bring them."""
    snapshots = sorted(contents.tables["snapshot"].values(), key=lambda row: row.id)
    if snapshots and snapshots[-1].id > len(snapshots):
        return  # some were purged, and what they brought may be another's now
    first: dict[int, Row] = {}
    for snapshot in snapshots:
        prompt = contents.parent(snapshot, "prompt_id")
        if prompt is not None:
            first.setdefault(prompt.id, snapshot)
    for brought, (prompt_id, snapshot) in zip(sorted(first), first.items(), strict=True):
        if brought != prompt_id:
            run = contents.parent(snapshot, "run_id")
            yield f"{run or snapshot}: its {snapshot['kind']} is a prompt that another snapshot brought"


def prompt_problems(connection: Connection, contents: Contents) -> Problems:
    """What is wrong with the numbers of prompts and of their key vectors."""
    query = text(PROMPTS).execution_options(yield_per=AT_ONCE)
    try:
        for some in connection.execute(query).partitions(AT_ONCE):
            rows = [
                (contents.tables["prompt"].get(key) or Row("prompt", key), blobs)
                for key, *blobs in some
            ]
            yield from guarded("prompts", _some_problems, rows)
    except SQLAlchemyError as error:
        yield f"prompts: cannot be read ({reason(error)})"


class _Prompt(NamedTuple):
    """A prompt ``[..., P, H]`` with its average vectors ``[W]``, each where it is stored."""

    row: Row
    values: np.ndarray
    vectors: list[np.ndarray | None]


def _some_problems(rows: Sequence[tuple[Row, list[Any]]]) -> Problems:
    """Of prompts and the bytes of their values and vectors."""
    import numpy as np

    by_shape: dict[tuple[int, ...], list[_Prompt]] = {}
    for row, cells in rows:
        try:
            blobs = [None if cell is None else as_bytes(cell) for cell in cells]
        except ValueError as error:
            yield f"{row}: cannot be checked ({error})"
            continue
        if None in (row["length"], row["width"], blobs[0]):
            continue
        shape = tuple(row["shape"] or (row["length"], row["width"]))
        values, *vectors = (
            None if blob is None else np.frombuffer(blob, "<f4", len(blob) // 4) for blob in blobs
        )
        if len(blobs[0] or b"") != 4 * math.prod(shape):
            size = len(blobs[0] or b"") // 4
            yield f"{row}: {size} numbers stored, expected {' x '.join(map(str, shape))}"
        elif values is not None:
            by_shape.setdefault(shape, []).append(_Prompt(row, values.reshape(shape), vectors))
    for shape, prompts in by_shape.items():
        yield from _problems_of_a_shape(prompts, width=math.prod(shape) // shape[-2])


def _problems_of_a_shape(prompts: Sequence[_Prompt], width: int) -> Problems:
    import numpy as np

    finite = np.isfinite(np.stack([prompt.values for prompt in prompts]))
    sound: list[_Prompt] = []
    for prompt, numbers in zip(prompts, finite, strict=True):
        row, sizes = (
            prompt.row,
            [None if vector is None else vector.size for vector in prompt.vectors],
        )
        if row["sha256"] is not None and prompt_sha256(prompt.values) != row["sha256"]:
            yield f"{row}: checksum differs from its address"
        elif not numbers.all():
            yield f"{row}: {int((~numbers).sum())} of {numbers.size} numbers are not finite"
        elif None in sizes:
            yield f"{row}: has no key vectors"
        elif sizes != [width, width]:
            yield f"{row}: key vectors do not belong to it"
        else:
            sound.append(prompt)
    for row in _with_others_vectors(sound):
        yield f"{row}: key vectors do not belong to it"


def _with_others_vectors(prompts: Sequence[_Prompt]) -> Iterator[Row]:
    import numpy as np

    if prompts:
        average, normalized = (np.stack([p.vectors[i] for p in prompts]) for i in range(2))  # type: ignore[misc]
        matching = belong(np.stack([prompt.values for prompt in prompts]), average, normalized)
        yield from (
            prompt.row for prompt, sound in zip(prompts, matching, strict=True) if not sound
        )
