"""What a pre-training run is: its model, its phases, and the objective of each."""

from __future__ import annotations

import dataclasses

from spot.backbone.config import T5Config
from spot.training.optimizers import Optimizer
from tasks.objectives import Objective, PrefixLM, SpanCorruption


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """One phase: its objective, its length and its learning rate."""

    name: str
    steps: int
    batch_size: int
    learning_rate: float
    seed: int

    def optimizer(self) -> Optimizer:
        """Adafactor with parameter scaling and a cosine to zero after 3 % warm-up."""
        return Optimizer(
            learning_rate=self.learning_rate,
            schedule="cosine",
            warmup_steps=max(1, self.steps * 3 // 100),
            weight_decay=0.0,
            scale_by_parameter=True,
            factored=True,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretraining:
    """All of a pre-training run; equal plans on equal corpora give equal weights."""

    config: T5Config
    span_steps: int
    adaptation_steps: int
    supervised_steps: int
    batch_size: int = 32
    input_length: int = 128
    learning_rate: float = 0.02
    seed: int = 0
    bfloat16: bool = True
    evaluate_every: int = 500
    supervised_lm_share: float = 0.25

    def phases(self) -> tuple[Phase, ...]:
        names = ("span_corruption", "prefix_lm", "supervised")
        steps = (self.span_steps, self.adaptation_steps, self.supervised_steps)
        rates = (self.learning_rate, self.learning_rate / 2, self.learning_rate / 2)
        return tuple(
            Phase(
                name=name,
                steps=n,
                batch_size=self.batch_size,
                learning_rate=rate,
                seed=self.seed + i,
            )
            for i, (name, n, rate) in enumerate(zip(names, steps, rates, strict=True))
            if n
        )

    def objective(self, phase: str) -> Objective:
        vocab, length = self.config.vocab_size, self.input_length
        if phase == "span_corruption":
            return SpanCorruption(vocab_size=vocab, input_length=length)
        return PrefixLM(
            vocab_size=vocab, input_length=length * 3 // 4, target_length=length * 3 // 8
        )
