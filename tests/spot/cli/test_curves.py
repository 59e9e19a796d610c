"""A plot of characters shows what its numbers say."""

from spot.cli.curves import _mean, _reached, plot


def test_each_score_stands_at_its_step_and_height() -> None:
    lines = plot(
        [{10: 50.0, 20: 100.0, 30: 100.0}, {10: 50.0, 20: 75.0, 30: 100.0}], width=5, height=3
    )
    assert lines == [
        "100.0 ┤  ● ●",
        "      ┤  ○",
        " 50.0 ┤●",
        "      └─────",
        "       10 30 steps",
    ]


def test_equal_scores_lie_on_one_line() -> None:
    lines = plot([{1: 25.0, 2: 25.0}, {}], width=4, height=2)
    assert lines[:2] == ["      ┤", " 25.0 ┤●  ●"]


def test_means_are_over_the_steps_that_all_have() -> None:
    assert _mean([{1: 10.0, 2: 20.0}, {2: 40.0, 4: 50.0}]) == {2: 30.0}
    assert _mean([]) == {}


def test_it_says_when_the_best_score_without_transfer_was_reached() -> None:
    without = {10: 50.0, 20: 80.0, 30: 80.0}
    assert _reached({10: 80.0, 20: 90.0}, without).endswith(
        "after 20 steps, with transfer after 10"
    )
    assert _reached({10: 79.0}, without).endswith("with transfer never")
