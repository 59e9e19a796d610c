"""The tolerance of the tests follows what they compare."""

import ml_dtypes
import numpy as np
import pytest

from tests.closeness import assert_close, tolerance

VALUES = np.array([-14.0, 0.5, 3.0])


def test_tolerance_follows_the_scale_the_sums_and_the_dtype() -> None:
    plain = tolerance(VALUES)
    assert tolerance(10 * VALUES) == 10 * plain
    assert tolerance(VALUES, terms=300) == 3 * plain
    assert tolerance(VALUES, dtype=ml_dtypes.bfloat16) == 2**16 * plain
    assert tolerance(VALUES, dtype=np.float64) == 2.0**-29 * plain
    assert tolerance(VALUES, scale=7.0) == plain / 2
    assert tolerance(VALUES, relative=0.01) == 0.14
    assert tolerance([*VALUES, -np.inf, np.nan]) == plain


def test_what_rounding_explains_passes_and_what_it_does_not_fails() -> None:
    off = tolerance(VALUES)
    assert_close(VALUES + 0.9 * off, VALUES)
    assert_close(np.float32([0.5, 0.5]), 0.5)
    for wrong in (VALUES + 1.1 * off, [-14.0, np.nan, 3.0], VALUES[None], VALUES[:2]):
        with pytest.raises(AssertionError):
            assert_close(wrong, VALUES)


def test_zeros_are_expected_to_the_bit_unless_a_scale_is_named() -> None:
    assert_close([0.0, 1e-7], [0.0, 0.0], scale=1.0)
    with pytest.raises(AssertionError):
        assert_close([0.0, 1e-30], [0.0, 0.0])
