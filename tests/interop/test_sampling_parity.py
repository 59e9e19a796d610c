"""What sampling draws from, against the processors of logits in ``transformers``."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spot.inference.sampling import cut
from tests.closeness import assert_close

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.interop


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_k", [0, 1, 7, 1000])
@pytest.mark.parametrize("top_p", [1.0, 0.95, 0.5, 0.01])
def test_the_same_tokens_are_drawn_as_often(temperature: float, top_k: int, top_p: float) -> None:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = np.random.default_rng(1).normal(size=(8, 200)).astype(np.float32) * 3
    ours = jax.nn.softmax(cut(jnp.asarray(logits) / temperature, top_k, top_p), axis=-1)
    theirs = TemperatureLogitsWarper(temperature)(None, torch.tensor(logits))
    if top_k:
        theirs = TopKLogitsWarper(top_k)(None, theirs)
    if top_p < 1:
        theirs = TopPLogitsWarper(top_p)(None, theirs)
    assert_close(ours, theirs.softmax(-1), terms=200)
