"""The training loop: steps, evaluations, snapshots and checkpoints of many jobs in one program.

The loop knows no SQL and no task: batches come from a stream whose state is small, evaluations and results go to
callables. What is killed at any moment and started again on one machine goes back to its last checkpoint and ends
with the same bits as what was left alone.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spot.errors import DivergenceError, Interrupted
from spot.prompts.reparameterization import prompt_length
from spot.training import checkpoint
from spot.training.jobs import (
    Evaluate,
    GiveUp,
    Job,
    Progress,
    Result,
    Slot,
    check_parameters,
    on_device,
    on_host,
)
from spot.training.step import Step

CHECKPOINT_FILE = "checkpoint.msgpack"


def fit(
    jobs: Sequence[Job],
    *,
    frozen: Any,
    step: Step,
    evaluate: Evaluate,
    slots: int = 1,
    folder: Path | None = None,
    give_up: GiveUp = lambda _progress: (),
) -> None:
    """Train jobs in slots of one program; each keeps its key and its best state, and hands them to ``job.done``.

    Every step takes a batch of every slot through one forward and backward pass. Jobs start in their order as slots
    become free, and end by themselves. The best state is the one of the largest ``score``; of ties the one of smaller
    development loss, and where jobs cannot say that, the earlier one. A job whose loss is not finite gives its slot up;
    the others go on, and the error is raised when they are done, unless the job may diverge.

    A checkpoint holds all slots at one moment and is written before any result is handed on, so that what shares a
    program with what is the same after a restart, and with it every bit on one machine.

    Args:
        jobs: what to train; of one recipe, as far as ``step`` goes.
        frozen: the model's weights, where these do not train.
        step: from :func:`spot.training.step.make_step` for what trains.
        evaluate: development metrics of all jobs that are at an evaluation, in one call.
        slots: jobs under way at once.
        folder: where the checkpoint lies; ``None`` saves nothing.
        give_up: says after evaluations which jobs shall not go on; it must not depend on anything but what it is told.

    Raises:
        DivergenceError: the loss of a job is not finite.
        Interrupted: SIGINT or SIGTERM arrived; the state is saved.
        TrainingError: a damaged checkpoint, or one of other jobs.
    """
    Loop(jobs, frozen, step, evaluate, slots if step.slots else 1, folder, give_up).run()


class Loop:
    """The state of :func:`fit` while it runs."""

    def __init__(
        self,
        jobs: Sequence[Job],
        frozen: Any,
        step: Step,
        evaluate: Evaluate,
        slots: int,
        folder: Path | None,
        give_up: GiveUp,
    ) -> None:
        self.jobs, self.frozen, self.step = jobs, frozen, step
        self.evaluate, self.give_up = evaluate, give_up
        self.path = folder / CHECKPOINT_FILE if folder else None
        self.pace = jobs[0].plan
        start = jobs[0].start()
        self.trained = (
            jax.tree.map(lambda leaf: jnp.repeat(jnp.asarray(leaf), slots, 0), start)
            if step.slots
            else on_device(start)
        )
        self.optimizer = step.init(self.trained)
        self.blank = on_host(start)
        self.length = prompt_length(self.blank) if step.slots else 0
        self.slots: dict[int, Slot] = {}
        self.size, self.clock, self.turn = slots, 0, 0
        self.failures: list[DivergenceError] = []
        self.given_up: dict[str, Progress] = {}

    # -- the loop ----------------------------------------------------------------------------------------

    def run(self) -> None:
        self.restore()
        with caught_signals() as caught:
            try:
                self.seat_next()
                self.saved_at = time.monotonic()
                while self.slots:
                    self.advance()
                    self.handle_events(caught)
            finally:
                for slot in self.slots.values():
                    slot.job.reporter.finish()
        if self.failures:
            first, *others = self.failures
            raise DivergenceError(f"{first}; {len(others)} more runs likewise") if others else first

    def advance(self) -> None:
        """One step of all slots."""
        batches = {number: slot.next() for number, slot in self.slots.items()}
        parts: Sequence[Any] = list(batches.values())
        if self.step.slots:
            parts = self.step.cut(batches, self.length)
        active = np.array([number in self.slots for number in range(self.size)])
        self.trained, self.optimizer, losses = self.step.run(
            self.trained,
            self.optimizer,
            self.frozen,
            parts,
            self.noise_keys(),
            active,
            self.rates(),
            self.firsts(),
        )
        self.clock += 1
        for slot in self.slots.values():
            slot.progress.step += 1
            slot.pending.append(losses)

    def noise_keys(self) -> Array:
        """Keys ``[N]`` of this step's noise: each follows from its job's seed and step, whatever shares the program."""
        pairs = np.zeros((self.size, 2), np.uint32)
        if self.step.noisy:
            for number, slot in self.slots.items():
                pairs[number] = slot.job.seed, slot.progress.step
        return noise_keys(pairs, noisy=self.step.noisy)

    def rates(self) -> np.ndarray:
        """Learning rates ``[N]`` float32: a job's own, or the step's."""
        rates = np.full(self.size, self.step.rate, np.float32)
        for number, slot in self.slots.items():
            if slot.job.learning_rate is not None:
                rates[number] = slot.job.learning_rate
        return rates

    def firsts(self) -> np.ndarray:
        """For every slot ``[N]`` int32 the first of those that it shares a part with: itself where it is alone."""
        firsts = np.arange(self.size, dtype=np.int32)
        seen: dict[str, int] = {}
        for number, slot in sorted(self.slots.items()):
            if slot.job.shares:
                firsts[number] = seen.setdefault(slot.job.shares, number)
        return firsts

    def handle_events(self, caught: Sequence[int]) -> None:
        """Everything that is not a step, where it is due: losses, keys, evaluations, endings, checkpoints."""
        evaluated = any(slot.at_evaluation for slot in self.slots.values())
        events = evaluated or any(slot.at_key for slot in self.slots.values())
        if not (events or caught or self.clock % self.pace.report_every == 0):
            return
        reached = max(slot.progress.step for slot in self.slots.values())
        for slot in list(self.slots.values()):
            try:
                self.check(slot)
            except DivergenceError as error:
                self.diverge(slot, error)
        self.evaluate_slots([slot for slot in self.slots.values() if slot.at_evaluation])
        self.prune()
        ended = [slot for slot in self.slots.values() if slot.progress.done]
        due = (
            caught
            or ended
            or evaluated
            or time.monotonic() - self.saved_at >= self.pace.checkpoint_seconds
        )
        if due and self.slots:
            self.store()
        for slot in ended:
            self.end(slot)
        self.seat_next()
        if caught:
            raise Interrupted(caught[0], reached, self.path)

    def check(self, slot: Slot) -> None:
        """Take in the losses of a slot's steps, and its key where that is due.

        Raises:
            DivergenceError: a loss, or a parameter that would be kept, is not finite.
        """
        slot.collect_losses()
        parameters = self.step.take(self.trained, slot.number)
        check_parameters(parameters, slot.progress.step)
        if slot.at_key:
            slot.key = on_host(parameters)

    def evaluate_slots(self, slots: Sequence[Slot]) -> None:
        """Evaluate slots together, and say of each what is its best state and whether it has ended."""
        if not slots:
            return
        metrics = self.evaluate(
            [slot.job for slot in slots], self.step.take(self.trained, *(s.number for s in slots))
        )
        for slot, row in zip(slots, metrics, strict=True):
            parameters = self.step.take(self.trained, slot.number)
            progress, plan = slot.progress, slot.job.plan
            progress.record(
                row, row["score"], wins_tie=functools.partial(self.wins_tie, slot, parameters)
            )
            if progress.best_step == progress.step:
                slot.best = on_host(parameters)
                progress.best_facts = dict(slot.job.facts())
            slot.job.reporter.evaluated(progress.step, progress.history[-1])
            tired = plan.patience and progress.stale >= plan.patience
            progress.done = slot.last or bool(tired and progress.step >= plan.key_step)

    def wins_tie(self, slot: Slot, parameters: Any) -> bool:
        """Whether a state whose score equals the best one's has the smaller development loss."""
        loss, progress = slot.job.loss, slot.progress
        if loss is None:
            return False
        if progress.best_loss is None:
            progress.best_loss = loss(slot.best, progress.best_facts)
        loss_now = loss(parameters, slot.job.facts())
        if loss_now >= progress.best_loss:
            return False
        progress.best_loss = loss_now
        return True

    def prune(self) -> None:
        """Free the slots of jobs that shall not go on."""
        running = {
            slot.job.identity: slot for slot in self.slots.values() if not slot.progress.done
        }
        for identity in self.give_up({name: slot.progress for name, slot in running.items()}):
            self.let_go(running[identity])

    def diverge(self, slot: Slot, error: DivergenceError) -> None:
        """End a job that is not finite: it is given up where it may be, and a failure elsewhere."""
        if slot.job.may_diverge:
            slot.progress.diverged = True
            self.let_go(slot)
            return
        named = f"{slot.job.title}: {error}" if slot.job.title else str(error)
        self.failures.append(DivergenceError(named))
        self.free(slot.number)

    def let_go(self, slot: Slot) -> None:
        """Give a job up, and free its slot."""
        self.given_up[slot.job.identity] = slot.progress
        slot.job.given_up(slot.progress)
        self.free(slot.number)

    # -- slots -------------------------------------------------------------------------------------------

    def seat_next(self) -> None:
        """Seat the next jobs in the free slots, lowest first."""
        for number in range(self.size):
            while number not in self.slots and self.turn < len(self.jobs):
                job = self.jobs[self.turn]
                self.turn += 1
                if not job.known():
                    self.seat(number, job)

    def seat(self, number: int, job: Job) -> None:
        start = on_device(job.start())
        self.optimizer = self.step.seat(self.optimizer, number, self.step.init(start))
        self.trained = self.step.seat(self.trained, number, start)
        self.slots[number] = Slot(number, job, start)
        job.reporter.start(0, job.plan.steps)

    def end(self, slot: Slot) -> None:
        key = slot.key if slot.job.plan.key_step else None
        final = on_host(self.step.take(self.trained, slot.number))
        slot.job.done(Result(final, slot.best, key, slot.progress))
        self.free(slot.number)

    def free(self, number: int) -> None:
        self.slots.pop(number).job.reporter.finish()

    # -- checkpoints -------------------------------------------------------------------------------------

    @property
    def identity(self) -> str:
        """All jobs in their order, and the number of slots."""
        content = "\n".join([str(self.size), *(job.identity for job in self.jobs)])
        return hashlib.sha256(content.encode()).hexdigest()

    def arrays(self) -> dict[str, Any]:
        kept = [self.slots.get(number) for number in range(self.size)]
        return {
            "trained": self.trained,
            "optimizer": self.optimizer,
            "best": [slot.best if slot else self.blank for slot in kept],
            "key": [slot.key if slot else self.blank for slot in kept],
        }

    def store(self) -> None:
        self.saved_at = time.monotonic()
        if self.path is None:
            return
        slots = {str(number): slot.notes() for number, slot in self.slots.items()}
        failures = [str(error) for error in self.failures]
        given_up = {
            identity: dataclasses.asdict(progress) for identity, progress in self.given_up.items()
        }
        notes = {
            "clock": self.clock,
            "turn": self.turn,
            "slots": slots,
            "failures": failures,
            "given up": given_up,
        }
        checkpoint.save(self.path, self.arrays(), notes, identity=self.identity)

    def restore(self) -> None:
        """Go back to the checkpoint, if there is one; results of runs that had ended in it are handed on again."""
        saved_state = (
            checkpoint.load(self.path, self.arrays(), identity=self.identity) if self.path else None
        )
        if not saved_state:
            return
        arrays, notes = saved_state
        self.trained, self.optimizer = jax.device_put((arrays["trained"], arrays["optimizer"]))
        self.clock, self.turn = notes["clock"], notes["turn"]
        self.failures = [DivergenceError(line) for line in notes["failures"]]
        by_identity = {job.identity: job for job in self.jobs}
        for identity, progress in notes["given up"].items():
            self.given_up[identity] = Progress(**progress)
            by_identity[identity].given_up(self.given_up[identity])
        for key, saved in notes["slots"].items():
            number, job = int(key), by_identity[saved["job"]]
            slot = self.slots[number] = Slot(number, job, self.blank)
            slot.best, slot.key = arrays["best"][number], arrays["key"][number]
            slot.progress = Progress(**saved["progress"])
            slot.stream.restore(saved["stream"])
            job.reporter.start(slot.progress.step, job.plan.steps)
        for slot in [slot for slot in self.slots.values() if slot.progress.done]:
            self.end(slot)


def noise_keys(pairs: np.ndarray, *, noisy: bool) -> Array:
    """What a step takes as keys for ``pairs[N, 2]`` uint32 of seed and step; where nothing is noisy, anything."""
    return _keys(pairs) if noisy else jnp.asarray(pairs)


@jax.jit
def _keys(pairs: Array) -> Array:
    """A key for every row of ``pairs[N, 2]`` uint32, seed and step."""
    return jax.vmap(lambda pair: jax.random.fold_in(jax.random.key(pair[0]), pair[1]))(pairs)


@contextmanager
def caught_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying from them; a second one of either kills at once."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def note(number: int, _frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, signal.SIG_DFL)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
