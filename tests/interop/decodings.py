"""Ways to generate, as ours and as ``generate`` of ``transformers`` takes them."""

from __future__ import annotations

from typing import Any

from spot.inference.decoding import Decoding

GREEDY = Decoding()

WAYS = (
    GREEDY,
    Decoding(policy="beam"),
    Decoding(policy="beam", beams=3, length_penalty=-1.0),
)


def their_way(way: Decoding) -> dict[str, Any]:
    if way == GREEDY:
        return {"num_beams": 1}
    return {"num_beams": way.beams, "length_penalty": way.length_penalty, "early_stopping": False}


def repr_of(way: Decoding) -> str:
    return f"{way.beams} beams, penalty {way.length_penalty:g}" if way != GREEDY else "greedy"
