"""The bank: one door to what the modules beside it do, a noun each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, func, select

from bank import (
    evaluations,
    key_store,
    prompts,
    recipes,
    recyclers,
    removal,
    runs,
    schema,
    tasks,
    transfers,
)
from bank import tags as tagging
from bank.engine import copied, open_engine, try_write
from bank.keys import Keys
from bank.location import bank_url, in_memory, shown
from bank.records import (
    Evaluation,
    Outcome,
    Partition,
    RecyclerRecord,
    RunIdentity,
    RunRecord,
    SourceRecipe,
    StoredRun,
    TaskRecord,
    TransferRecord,
)
from bank.selection import Selection
from bank.sessions import reading

if TYPE_CHECKING:
    import numpy as np


class Bank:
    """A SQL database of prompts and where they came from.

    ``Bank.open("bank.sqlite")`` or any SQLAlchemy URL. Every write is one transaction: it appears whole or not at
    all, and writing the same run twice keeps one. Safe for several processes at once.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, location: str | Path, *, create: bool = True, write: bool | None = None) -> Bank:
        """Open a bank for reading, or for writing, which brings an older schema up to date.

        Args:
            location: file or URL.
            create: make it where there is none.
            write: whether to write; as ``create`` says if not given. A reader makes and changes no file.

        Raises:
            BankError: it cannot be reached, is no bank, or was written by a newer program.
        """
        return cls(open_engine(bank_url(location), create=create, write=write))

    @classmethod
    def copied(cls, location: str | Path) -> Bank:
        """A copy in memory of a bank that may be read but not written: what is recorded in it is gone with it.

        Raises:
            BankError: it cannot be read, or is no file.
        """
        return cls(copied(bank_url(location)))

    def close(self) -> None:
        self.engine.dispose()

    def __enter__(self) -> Bank:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __str__(self) -> str:
        return shown(self.engine.url)

    @property
    def location(self) -> str | None:
        """Where another process opens this bank, secrets and all; ``None`` for one in this process's memory."""
        url = self.engine.url
        return None if in_memory(url) else url.render_as_string(hide_password=False)

    # -- writing -----------------------------------------------------------------------------------------

    def try_write(self) -> None:
        """Write and take it back, so that training need not find at its end that it cannot be stored.

        Raises:
            BankError: permissions, disk, schema or another writer do not let it.
        """
        try_write(self.engine)

    def check_task(self, record: TaskRecord) -> None:
        """Refuse a task whose name stands for another one in this bank.

        Raises:
            BankError: the bank's task of that name has other content, or is a mixture of other tasks.
        """
        tasks.check_task(self.engine, record)

    def record_texts(self, record: TaskRecord) -> None:
        """Add what the record of a task knows of its texts to the bank's task, where that does not know it.

        Raises:
            BankError: the bank holds no such task, or as :meth:`check_task`.
        """
        tasks.record_texts(self.engine, record)

    def record_run(self, record: RunRecord) -> str:
        """Store a run with its key, value, metrics and recipe in one transaction; returns its digest.

        One that is held already is kept, and restored if it was removed.

        Raises:
            BankError: as :meth:`check_task`, or a backbone that the bank holds with another width.
        """
        return self.record_runs([record])[0]

    def record_runs(self, records: Sequence[RunRecord]) -> list[str]:
        """Store many runs in one transaction, as :meth:`record_run` stores each; returns their digests.

        Raises:
            BankError: as :meth:`record_run`; none of them is stored then.
        """
        digests = runs.record_runs(self.engine, records)
        removal.restore_wanted(self.engine, digests)
        return digests

    def record_twin(self, identity: RunIdentity, twin: str) -> str:
        """Store a run that was trained exactly as another one, whose snapshots and history it shares.

        Args:
            identity: of the new run.
            twin: digest of the run in the bank.

        Raises:
            BankError: ``twin`` is not in the bank, or of another recipe or task.
        """
        digest = runs.record_twin(self.engine, identity, twin)
        removal.restore_wanted(self.engine, [digest])
        return digest

    def record_transfer(self, record: TransferRecord) -> str:
        """Store a transfer whose runs are in the bank; returns its digest.

        Raises:
            BankError: a run it names is not in the bank, or its chosen run is another task's.
        """
        return transfers.record_transfer(self.engine, record)

    def record_evaluation(
        self,
        run: str,
        data: str,
        *,
        metrics: Mapping[str, float],
        answers: Sequence[str],
        decoding: Mapping[str, Any] | None = None,
    ) -> None:
        """Store what a run's value answers to a test split, once.

        Args:
            run: digest of the run.
            data: digest of the split, and of the decoding where that is given.
            metrics: of the answers.
            answers: to every example, in their order.
            decoding: how they were found; greedily, or by the scores of the choices, if not given.

        Raises:
            BankError: the run is not in the bank.
        """
        evaluations.record_evaluation(
            self.engine, run, data, metrics=metrics, answers=answers, decoding=decoding
        )

    def put(self, prompt: np.ndarray) -> str:
        """Store a prompt ``[..., P, H]`` that no run made, such as an average; returns its address.

        Raises:
            BankError: not a prompt.
        """
        return prompts.put(self.engine, prompt)

    def record_recycler(self, record: RecyclerRecord) -> str:
        """Store a map between two backbones; returns its digest. One of its method that is held already is kept.

        Raises:
            BankError: numbers that are not finite, or a backbone that the bank holds with another width.
        """
        return recyclers.record_recycler(self.engine, record)

    def tag(self, name: str, tags: Sequence[str]) -> str:
        """Give a run tags that it lacks; returns its digest.

        Args:
            name: digest of the run, a version of a task (``TASK@TAG``), or the address of a prompt that one run has.
            tags: to give.

        Raises:
            BankError: no such run, a prompt of several, or what can be no tag.
        """
        return tagging.tag(self.engine, name, tags)

    def untag(self, name: str, tags: Sequence[str]) -> str:
        """Take tags from a run, named as for :meth:`tag`; returns its digest.

        Raises:
            BankError: no such run, or one that lacks a tag; none is taken then.
        """
        return tagging.untag(self.engine, name, tags)

    def remove(self, selection: Selection) -> list[str]:
        """Hide runs from rankings, lists and names until they are restored; returns their digests.

        They are held all the same: who asks for one of them to be trained has it restored.

        Raises:
            BankError: a selection that names what is not there, or has no runs.
        """
        return removal.remove(self.engine, selection)

    def restore(self, selection: Selection) -> list[str]:
        """Bring removed runs back; returns their digests.

        Raises:
            BankError: as :meth:`remove`.
        """
        return removal.restore(self.engine, selection)

    def restore_wanted(self, digests: Sequence[str]) -> None:
        """Bring back those of these runs that are removed, since they are asked for; mostly there are none."""
        removal.restore_wanted(self.engine, digests)

    def purge(self, before: dt.datetime) -> removal.Purged:
        """Delete runs that were removed before a time, and what nothing else needs: nothing brings them back.

        Runs that transfers name are kept, since a transfer is its runs.
        """
        return removal.purge(self.engine, before)

    # -- reading -----------------------------------------------------------------------------------------

    def run(self, digest: str) -> StoredRun | None:
        """A stored run by its full digest, or ``None``.

        Raises:
            BankError: it has no value, or a score that is no number.
        """
        return runs.get_runs(self.engine, [digest]).get(digest)

    def runs(self, digests: Sequence[str]) -> dict[str, StoredRun]:
        """Those of these runs that are stored, removed ones too, by their full digests.

        Raises:
            BankError: as :meth:`run`.
        """
        return runs.get_runs(self.engine, digests)

    def history(self, digest: str) -> list[dict[str, float]]:
        """One row an evaluation of a run: step, mean training loss since the last one, development metrics.

        Raises:
            BankError: no such run.
        """
        return runs.history(self.engine, digest)

    def environments(self, digests: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Where, on what and beside whom runs trained, and what their training told, by their full digests."""
        return runs.environments(self.engine, digests)

    def evaluation(self, run: str, data: str) -> Evaluation | None:
        """What :meth:`record_evaluation` stored for this run and split, or ``None``."""
        return evaluations.get_evaluation(self.engine, run, data)

    def prompt(self, sha256: str) -> np.ndarray:
        """A prompt ``[..., P, H]`` float32 by its address, or an unambiguous start of it (8 characters or more).

        Raises:
            BankError: unknown or ambiguous address, or damaged bytes.
        """
        return prompts.get_prompt(self.engine, sha256)

    def find_prompt(self, name: str, *, kind: str = "value") -> np.ndarray:
        """A prompt ``[..., P, H]`` by its address, or by the digest of a run, whose ``kind`` is meant.

        A run is also named as a version of its task: ``TASK@TAG``, ``TASK@best`` or ``TASK@latest``.

        Raises:
            BankError: neither is in the bank, the name is ambiguous, or the run is removed or has no such snapshot.
        """
        return prompts.find_prompt(self.engine, name, kind)

    def recycler(self, source: str, target: str, method: str) -> tuple[str, RecyclerRecord] | None:
        """The map of a method from one backbone to another with its digest, or ``None``.

        Args:
            source: fingerprint of the backbone whose prompts are mapped.
            target: of that whose they become.
            method: how it was fitted.

        Raises:
            BankError: damaged numbers.
        """
        return recyclers.get_recycler(self.engine, source, target, method)

    def partitions(self) -> list[Partition]:
        """Every combination of backbone, length, key step and recipe family that has source keys; ensembles, which are
        never ranked, make none."""
        return recipes.partitions(self.engine)

    def keys(self, partition: Partition, *, exclude: Sequence[str] = ()) -> Keys:
        """Keys of the source runs of a partition, by task and seed.

        Args:
            partition: whose keys.
            exclude: tasks left out, and with them the mixtures that hold one of them.

        Raises:
            BankError: a source without its key, value or task, or with a score that is none: a ranking without it
                would be another one. Vectors are checked when they are read.
        """
        return key_store.get_keys(self.engine, partition, exclude)

    def sources(self, partition: Partition) -> list[str]:
        """Names of the tasks that have keys in a partition, in alphabetical order."""
        return tasks.source_tasks(self.engine, partition)

    def recipe_options(self, partition: Partition) -> dict[str, Any]:
        """Options of a recipe of a partition, to say by what others differ from it; empty where there is none."""
        return recipes.recipe_options(self.engine, partition)

    def source_recipes(self) -> list[SourceRecipe]:
        """By what the sources of every partition were trained: the partition of most tasks first, then the newest."""
        return recipes.source_recipes(self.engine)

    def texts(self, names: Sequence[str]) -> dict[str, bytes]:
        """Hashes of the training sentences of tasks, little-endian uint64, of those where they are known."""
        return tasks.texts_of(self.engine, names, "texts")

    def signatures(self, names: Sequence[str]) -> dict[str, bytes]:
        """Shares of the training examples of tasks that hold words of each hash, little-endian float16, of those where
        they are known."""
        return tasks.texts_of(self.engine, names, "signature")

    def lacking_texts(self) -> list[str]:
        """Names of the tasks without a signature, in alphabetical order: hashes of sentences may lack as well, or there
        may be no sentence long enough for one."""
        return tasks.lacking_texts(self.engine)

    def outcomes(self, partition: Partition, *, recipe: str = "") -> list[Outcome]:
        """What single sources did for targets in the transfers of a partition, once a target, its recipe,
        seed and source run.

        Only methods that start from one source at a time count, and only transfers that ran every source to its end:
        whom a race left over is no fair sample of what sources do. What others measured counts as they say it is.
        Outcomes of one target can be compared where their ``data``, ``train_limit`` and ``recipe`` are the same.

        Args:
            partition: of the targets' queries.
            recipe: digest of that by which the targets themselves were trained; whatever it was if not given.

        Raises:
            BankError: a score that is no number.
        """
        return transfers.get_outcomes(self.engine, partition, recipe)

    def count_rows(self) -> dict[str, int]:
        """Rows of every table."""
        with reading(self.engine) as session:
            return {
                table.name: session.execute(select(func.count()).select_from(table)).scalar_one()
                for table in schema.Base.metadata.sorted_tables
            }
