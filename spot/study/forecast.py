"""What a study would train, before it does."""

from __future__ import annotations

from collections.abc import Iterator

from spot.study.run import ORACLE, SIZED, Study, further_methods
from spot.transfer.forecast import Foresight, foresee_transfers
from spot.transfer.runs import Trainer
from spot.transfer.transfer import TransferOptions
from tasks import Mixture
from tasks.overlaps import overlapping
from tasks.task import Task


def foresee_study(study: Study) -> Foresight:
    """All runs of a study: its sources, its baselines, and those that rankings decide.

    The last are known where sources and baselines are held; else they are counted, at most: of sources that turn out to
    share texts with a target only those are left out that are known to.
    """
    foresight = Foresight(study.trainer.bank)
    whole = all(foresight.held(foresight.add(study.trainer, study.source_specs())))
    for trainer, target, options in _transfers(study):
        foresee_transfers(
            foresight,
            trainer,
            target,
            seeds=range(study.plan.target_seeds),
            options=options,
            find_task=study.find_task,
            coming=None if whole else coming_sources(study, target),
            counted=not _among_oracles(options, trainer.recipe == study.of_targets.recipe),
        )
    return foresight


def _transfers(study: Study) -> Iterator[tuple[Trainer, Task, TransferOptions]]:
    """What a study transfers, in the order of :meth:`spot.study.run.Study.run`."""
    kinds = [ORACLE, *further_methods(study.plan).values()]
    for options in kinds:
        for target in study.targets:
            if options.get("source") != target.name:
                yield study.of_targets, target, study.options(**options)
    for size in study.plan.sizes:
        for target in study.targets:
            yield study.of_size(size), target, study.options(**SIZED)


def _among_oracles(options: TransferOptions, of_targets: bool) -> bool:
    """Whether its runs are among those from every source: an average of one source is that source's value."""
    single = options.method in ("best", "generic") or (
        options.method == "average" and options.top_k == 1
    )
    return of_targets and single


def coming_sources(study: Study, target: Task) -> list[str]:
    """Names of the sources that there will be for a target: the study's and the bank's, without those known to share
    its texts."""
    known = {task.name: task for task in study.sources}
    bank = study.trainer.bank.sources(study.trainer.partition)
    out = {target.name, *overlapping(target.name)}

    def holds_target(task: Task | Mixture | None) -> bool:
        return isinstance(task, Mixture) and any(m.name == target.name for m in task.members)

    names = dict.fromkeys([*known, *bank])
    return [name for name in names if name not in out and not holds_target(known.get(name))]
