"""What a study would train, before it does."""

from __future__ import annotations

from collections.abc import Iterator

from spot.study.along import OneTarget, Sample, samples
from spot.study.run import ORACLE, SIZED, Study, further_methods
from spot.transfer.forecast import Foresight, foresee_transfers
from spot.transfer.runs import Trainer
from spot.transfer.transfer import TransferOptions
from tasks.task import Task


def foresee_study(study: Study) -> Foresight:
    """All runs of a study: its sources, its baselines, and those that rankings decide.

    The last are known where sources and baselines are held; else they are counted, at most: of sources that turn out to
    share texts with a target only those are left out that are known to.
    """
    foresight = Foresight(study.trainer.bank)
    whole = all(foresight.held(foresight.add(study.trainer, study.source_specs())))
    if study.plan.at_budgets:
        _foresee_budgets(foresight, study, whole)
        return foresight
    for trainer, target, options in _transfers(study):
        foresee_transfers(
            foresight,
            trainer,
            target,
            seeds=range(study.plan.target_seeds),
            options=options,
            find_task=study.find_task,
            coming=None if whole else study.coming_sources(target),
            counted=not _among_oracles(options, trainer.recipe == study.of_targets.recipe),
        )
    return foresight


def _transfers(study: Study) -> Iterator[tuple[Trainer, Task, TransferOptions]]:
    """What a study transfers, in the order of :meth:`spot.study.run.Study.run`."""
    kinds = [ORACLE, *further_methods(study.plan).values()]
    for options in kinds:
        for target in study.targets:
            source = options.get("source")
            if source is None or source in study.coming_sources(target):
                yield study.of_targets, target, study.options(**options)
    for size in study.plan.sizes:
        for target in study.sized_targets:
            yield study.of_size(size), target, study.options(**SIZED)


def _among_oracles(options: TransferOptions, of_targets: bool) -> bool:
    """Whether its runs are among those from every source: an average of one source is that source's value."""
    single = options.method in ("best", "generic") or (
        options.method == "average" and options.top_k == 1
    )
    return of_targets and single


def _foresee_budgets(foresight: Foresight, study: Study, whole: bool) -> None:
    """Runs of a study at budgets; ``whole`` where all sources are held."""
    for sample in samples(study):
        for target in sample.targets:
            foresight.add(sample.trainer, sample.baseline_specs(target))
            foresight.add(sample.trainer.querying, sample.query_specs(target))
    made = [each for each in further_methods(study.plan).values() if each["method"] != "generic"]
    of_all = [(target, ORACLE) for target in study.oracle_targets]
    for target, asked in [*of_all, *((target, each) for target in study.targets for each in made)]:
        foresee_transfers(
            foresight,
            study.of_targets,
            target,
            seeds=range(study.plan.target_seeds),
            options=study.options(**asked),
            find_task=study.find_task,
            coming=None if whole else study.coming_sources(target),
        )
    for sample in samples(study):
        for target in sample.targets:
            _foresee_heads(foresight, sample, target, whole)


def _foresee_heads(foresight: Foresight, sample: Sample, target: Task, whole: bool) -> None:
    """A target's runs from the sources of its rows: known where its queries are held, else counted, at most."""
    study, plan = sample.study, sample.plan
    asking = sample.trainer.querying
    held = foresight.held(asking.plan(sample.query_specs(target)))
    queries = [query for query in held if query]
    if whole and len(queries) == len(held):
        foresight.add(sample.trainer, OneTarget(sample, target, queries).source_specs())
        return
    if sample.whole and target.name in {each.name for each in study.oracle_targets}:
        return
    each = len(sample.measures) * max(plan.k)
    if sample.whole:
        each += plan.random_sources + bool(plan.generic)
    count = plan.target_seeds * min(each, len(study.coming_sources(target)))
    foresight.add_later(sample.trainer, target, count, after="the query")
