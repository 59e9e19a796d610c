"""Tasks whose published files share texts: a prompt of one may have seen the test examples of another."""

from __future__ import annotations

SHARED_TEXTS: tuple[frozenset[str], ...] = (
    frozenset({"sst2", "sst5", "mr"}),  # SST annotates the sentences of MR anew, and cuts them otherwise
    frozenset({"rte", "glue_rte", "few_rte"}),
    frozenset({"boolq", "few_boolq"}),
    frozenset({"cb", "few_cb"}),
    frozenset({"wic", "few_wic", "wn_wic", "wn_usage"}),  # WiC draws on WordNet's examples
    frozenset({"wnli", "wsc"}),  # WNLI is made of Winograd schemas
    frozenset({"mrpc", "stsb"}),  # STS draws on MRPC
    frozenset({"qnli", "squad"}),  # QNLI is made of SQuAD
)
"""Groups of built-in tasks, found by comparing texts of 25 letters or more, and from the data sets' papers."""


def overlapping(name: str) -> tuple[str, ...]:
    """Other tasks whose training texts may hold this one's test texts, in alphabetical order."""
    return tuple(sorted({other for group in SHARED_TEXTS if name in group for other in group if other != name}))
