"""A target's query, and with which keys of a bank one from a file can be compared."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from bank import Bank, Partition
from bank.identity import differing
from bank.vectors import average, average_normalized, tokens
from spot.errors import RetrievalError
from spot.prompts.files import PromptFile

FIELDS = {
    "prompt_length": "length",
    "fingerprint": "backbone",
    "key_step": "key step",
    "family": "recipe family",
}
"""What a partition consists of, and how a user calls it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Query:
    """A target's early prompt.

    Attributes:
        prompt: float32 ``[..., P, H]``.
        start: mean token ``[W]`` of the prompt it started from, if known.
    """

    prompt: np.ndarray
    start: np.ndarray | None = None

    @cached_property
    def tokens(self) -> np.ndarray:
        """``[P, W]``."""
        return tokens(self.prompt)

    @cached_property
    def average(self) -> np.ndarray:
        """Mean token, float32 ``[W]``."""
        return average(self.prompt)

    @cached_property
    def average_normalized(self) -> np.ndarray:
        """Mean unit token, float32 ``[W]``."""
        return average_normalized(self.prompt)


def as_query(query: Query | np.ndarray) -> Query:
    """A query as it is, or a bare prompt ``[..., P, H]`` as one whose start is not known."""
    return query if isinstance(query, Query) else Query(query)


def partition_of(file: PromptFile, bank: Bank) -> Partition:
    """The partition of a query from a file; of what the file does not say, the bank's keys must not differ.

    Warns of a file that says nothing of its recipe, which is then taken to be the keys', and of a value, which is no
    early prompt.

    Raises:
        RetrievalError: no keys of its backbone, length, key step and recipe, in which case the fields that differ are
            named, or several that it might belong to.
    """
    present = sorted(bank.partitions(), key=str)
    if not present:
        raise RetrievalError(
            f"bank {bank}: holds no source yet; train some with `spot train-source`"
        )
    said = _said(file)
    fitting = [partition for partition in present if not _differing_fields(said, partition)]
    if not fitting:
        nearest = min(present, key=lambda partition: len(_differing_fields(said, partition)))
        differences = "; ".join(_differences(file, said, nearest, bank))
        raise RetrievalError(
            f"{file.path}: no key in bank {bank} can be compared with it; it differs in {differences}; train a query "
            "with the keys' backbone and recipe, or sources with its own"
        )
    if trained := [partition for partition in fitting if partition.key_step]:
        fitting = trained  # prompts that others made are a query's peers only where nothing else is
    if len(fitting) > 1:
        raise RetrievalError(
            f"{file.path}: {len(fitting)} groups of keys have {said['prompt_length']} tokens, and the file does not "
            "say to which it belongs; rank for a TARGET task instead, whose backbone and recipe are known"
        )
    (partition,) = fitting
    if "family" not in said:
        warnings.warn(
            f"{file.path}: says nothing of the recipe it was trained with; it is ranked as if that were the keys' "
            f"(key step {partition.key_step})",
            stacklevel=2,
        )
    if file.metadata.get("kind") == "value" and file.number("step") != partition.key_step:
        warnings.warn(
            f"{file.path}: is the value of its run, while keys are early prompts; export the run with --kind key",
            stacklevel=2,
        )
    return partition


def _said(file: PromptFile) -> dict[str, Any]:
    """Fields of the file's partition, as far as it says them."""
    key_step = file.number("key_step")
    if key_step is None and file.metadata.get("kind") == "key":
        key_step = file.number("step")
    said = {
        "prompt_length": file.prompt.shape[-2],
        "fingerprint": file.fingerprint,
        "key_step": key_step,
        "family": file.metadata.get("recipe_family"),
    }
    return {name: value for name, value in said.items() if value is not None}


def _differing_fields(said: Mapping[str, Any], partition: Partition) -> list[str]:
    return [name for name, value in said.items() if getattr(partition, name) != value]


def _differences(
    file: PromptFile, said: Mapping[str, Any], partition: Partition, bank: Bank
) -> list[str]:
    """What differs between a query and keys, a phrase each; options in place of the digest of a recipe family."""
    differences = {
        FIELDS[name]: (said[name], getattr(partition, name))
        for name in _differing_fields(said, partition)
    }
    if "recipe family" in differences and (options := _options(file, partition, bank)):
        del differences["recipe family"]
        differences |= {
            name.replace("_", " "): values for name, values in options.items() if name not in FIELDS
        }
    return [
        f"{name} {_text(ours)} (keys: {_text(theirs)})"
        for name, (ours, theirs) in differences.items()
    ]


def _options(file: PromptFile, partition: Partition, bank: Bank) -> Mapping[str, tuple[Any, Any]]:
    """Options of the recipe that differ; none where the file says no sensible ones."""
    try:
        return differing(file.recipe, bank.recipe_options(partition)) if file.recipe else {}
    except (AttributeError, LookupError, TypeError) as error:
        raise RetrievalError(
            f"{file.path}: what it says of its recipe makes no sense; export the prompt again"
        ) from error


def _text(value: Any) -> str:
    """A field's value in a line; of a digest, or anything as long, only the start."""
    if value is None:
        return "not set"
    text = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return text[: 12 if len(text) == 64 else 40]
