"""WordNet's classes of synsets, and the label words that tasks have for them."""

from __future__ import annotations

SUPERSENSES = (
    "adj.all", "adj.pert", "adv.all", "noun.Tops", "noun.act", "noun.animal", "noun.artifact",
    "noun.attribute", "noun.body", "noun.cognition", "noun.communication", "noun.event", "noun.feeling",
    "noun.food", "noun.group", "noun.location", "noun.motive", "noun.object", "noun.person",
    "noun.phenomenon", "noun.plant", "noun.possession", "noun.process", "noun.quantity", "noun.relation",
    "noun.shape", "noun.state", "noun.substance", "noun.time", "verb.body", "verb.change",
    "verb.cognition", "verb.communication", "verb.competition", "verb.consumption", "verb.contact",
    "verb.creation", "verb.emotion", "verb.motion", "verb.perception", "verb.possession", "verb.social",
    "verb.stative", "verb.weather", "adj.ppl",
)  # fmt: skip
"""Names of WordNet's "lexicographer files", or supersenses, at the index by which ``data.*`` cites them."""

PART_OF_SPEECH_LABELS = {
    name: {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}[name.split(".")[0]]
    for name in SUPERSENSES
}

NOUN_LABELS = {
    "noun.act": "act",
    "noun.animal": "animal",
    "noun.artifact": "object",
    "noun.body": "body",
    "noun.communication": "communication",
    "noun.feeling": "feeling",
    "noun.food": "food",
    "noun.location": "place",
    "noun.person": "person",
    "noun.plant": "plant",
    "noun.substance": "substance",
    "noun.time": "time",
}

VERB_LABELS = {
    "verb.body": "body",
    "verb.change": "change",
    "verb.cognition": "thought",
    "verb.communication": "communication",
    "verb.contact": "contact",
    "verb.motion": "motion",
    "verb.perception": "perception",
    "verb.possession": "possession",
    "verb.social": "social",
}

LIVING_LABELS = {
    name: NOUN_LABELS[name] for name in ("noun.animal", "noun.plant", "noun.person", "noun.food")
}

VERB_MOTION_LABELS = {
    name: VERB_LABELS[name]
    for name in ("verb.motion", "verb.communication", "verb.contact", "verb.possession")
}

PHYSICAL = (
    "noun.animal", "noun.artifact", "noun.body", "noun.food", "noun.object", "noun.plant", "noun.substance",
)  # fmt: skip
"""Supersenses of things that have parts in the plain sense of the word."""
