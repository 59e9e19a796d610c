"""Plans: specs that travel, what a bank lacks, and groups that a restart finds again."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest

from bank import Bank, StoredRun
from spot.training.recipe import Recipe
from spot.transfer.planner import PlannedRun, TaskSpec, chunks, distinct, missing
from spot.transfer.runs import Trainer
from tasks import Mixture, get_learnable, get_task
from tasks.errors import TaskError
from tests.spot.training.conftest import write_task
from tests.spot.transfer.conftest import World
from tests.spot.transfer.doubles import refusing


@pytest.mark.parametrize("name", ["wn_living", "wordnet", "wn_pos+wn_isa"])
def test_a_spec_travels_and_gives_the_task_again(name: str) -> None:
    task = get_learnable(name)
    spec = pickle.loads(pickle.dumps(TaskSpec.from_task(task)))
    assert spec == TaskSpec.from_task(task)
    assert TaskSpec.from_task(spec.read()) == spec
    assert spec.read().describe() == task.describe()


def test_a_mixture_made_of_files_keeps_which_members_take_part_whole(tmp_path: Path) -> None:
    members = tuple(get_task(str(write_task(tmp_path, name))) for name in ("one", "two"))
    mixture = Mixture(name="one+two", members=members, cap=20, temperature=2.0, whole=("one",))
    again = TaskSpec.from_task(mixture).read()
    assert isinstance(again, Mixture)
    assert (again.name, again.content, again.whole) == (mixture.name, mixture.content, ("one",))
    assert [member.file for member in again.members] == [member.file for member in members]


@pytest.mark.parametrize("changed", ["one.toml", "one_dev.csv"])
def test_a_task_whose_file_or_data_changed_is_refused(tmp_path: Path, changed: str) -> None:
    spec = TaskSpec.from_task(get_task(str(write_task(tmp_path, "one"))))
    path = tmp_path / changed
    path.write_text(path.read_text(encoding="utf-8").replace("good", "fine"), encoding="utf-8")
    with pytest.raises(
        TaskError, match=r"one\.toml: its file or data have changed since runs of task 'one'"
    ):
        spec.read()


def plan(trainer: Trainer, world: World, *asked: tuple[int, str]) -> list[PlannedRun]:
    return trainer.plan([trainer.spec(world.target, seed, role) for seed, role in asked])


def test_what_is_missing_is_found_without_writing(world: World) -> None:
    before = world.bank.count_rows()
    held, twin, new = plan(world.trainer, world, (0, "source"), (0, "baseline"), (5, "source"))
    lacking = missing(world.bank, [held, twin, new])
    assert set(lacking.stored) == {held.digest}
    assert lacking.adopt == {twin.digest: held.digest}
    assert lacking.train == [new]
    assert world.bank.count_rows() == before


def test_runs_that_train_alike_are_trained_once_and_both_stored(world: World) -> None:
    asked = [
        world.trainer.spec(world.target, 5, role) for role in ("baseline", "source", "baseline")
    ]
    runs = world.trainer.plan(asked)
    assert [run.spec.role for run in distinct(runs)] == ["baseline"]
    baseline, source, again = world.trainer.run_all(asked)
    assert baseline == again
    assert (baseline.key, baseline.value) == (source.key, source.value)
    assert baseline.digest != source.digest


def test_a_run_in_the_bank_is_asked_for_once(world: World) -> None:
    asked: list[int] = []

    class CountingBank(Bank):
        def runs(self, digests: Sequence[str]) -> dict[str, StoredRun]:
            asked.append(len(digests))
            return super().runs(digests)

    trainer = Trainer(CountingBank(world.bank.engine), world.trainer.backbone, world.trainer.recipe)
    refusing(trainer).run_all(
        [trainer.spec(world.target, 0, role) for role in ("source", "source")]
    )
    assert asked == [4]


def test_neighbours_share_a_group_and_groups_are_alike_in_size(world: World) -> None:
    runs = plan(world.trainer, world, *((seed, "source") for seed in range(5)))
    assert [[run.spec.seed for run in part] for part in chunks(runs, 2)] == [[0, 1, 2], [3, 4]]
    assert chunks(runs[:1], 4) == [runs[:1]]
    assert chunks([], 2) == []


def test_one_digest_names_a_run_everywhere(world: World, recipe: Recipe) -> None:
    (run,) = plan(world.trainer, world, (0, "source"))
    assert (
        world.trainer.run(world.target, seed=0, role="source").digest
        == run.digest
        == run.identity.digest
    )
    assert pickle.loads(pickle.dumps(run)).digest == run.digest
