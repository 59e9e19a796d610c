"""Prompts of another length."""

from __future__ import annotations

import numpy as np
import pytest

from spot.prompts.lengths import RESIZES, interpolate, repeat

AXES = [(), (3,), (2, 3)]


@pytest.mark.parametrize("axes", AXES, ids=str)
def test_tokens_are_cut_or_come_again(axes: tuple[int, ...]) -> None:
    prompt = np.random.default_rng(0).normal(size=(*axes, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(repeat(prompt, 3), prompt[..., :3, :])
    long = repeat(prompt, 10)
    for token in range(10):
        np.testing.assert_array_equal(long[..., token, :], prompt[..., token % 4, :])


@pytest.mark.parametrize("axes", AXES, ids=str)
def test_between_tokens_it_is_straight(axes: tuple[int, ...]) -> None:
    prompt = np.random.default_rng(0).normal(size=(*axes, 4, 5)).astype(np.float32)
    longer = interpolate(prompt, 7)
    np.testing.assert_array_equal(longer[..., ::2, :], prompt)
    middle = (prompt[..., :-1, :].astype(np.float64) + prompt[..., 1:, :]) / 2
    np.testing.assert_allclose(longer[..., 1::2, :], middle, rtol=1e-6)
    shorter = interpolate(prompt, 2)
    np.testing.assert_array_equal(shorter, prompt[..., [0, 3], :])
    np.testing.assert_allclose(interpolate(prompt, 1)[..., 0, :], middle[..., 1, :], rtol=1e-6)
    one = prompt[..., :1, :]
    np.testing.assert_array_equal(interpolate(one, 3), np.repeat(one, 3, axis=-2))


@pytest.mark.parametrize("name", RESIZES)
def test_an_equal_length_changes_nothing(name: str) -> None:
    prompt = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    same = RESIZES[name](prompt, 4)
    np.testing.assert_array_equal(same, prompt)
    assert same.dtype == np.float32
