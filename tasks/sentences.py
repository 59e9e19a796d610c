"""Self-supervised classification from plain text: skills that prompts can call on, without any labelled data.

* ``acceptability``: is this a sentence as it was written, or were its words disturbed?
* ``follows``: did the second sentence follow the first?
* ``paraphrase``: was the second sentence only shortened by function words, or was a content word replaced?
* ``sentiment``: are the evaluative words of this sentence of praise or of blame? Half of the time they are taken out.
* ``topic`` and ``subject``: what is the article about that these sentences come from? Read off the article's first
  sentence ("Paris is the capital of ..."), which is never shown.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from tasks.wordings import Labelled

WORDS = range(6, 31)
"""Lengths of the sentences used, in words."""

SMALL_WORDS = frozenset(
    (
        "the", "a", "an", "of", "to", "in", "on", "at", "by", "for", "with", "and", "or", "but", "that", "which",
        "who", "his", "her", "its", "their", "this", "these", "very", "also", "then",
    )
)  # fmt: skip

PRAISE = frozenset(
    """
    acclaimed admirable admired agreeable amusing appealing attractive beautiful best better bravely brilliant
    brilliantly charming cheerful clever comfortable compelling confident courageous delicate delicious
    delighted delightful eager elegant engaging enjoy enjoyable enjoyed entertaining excellent excited exciting
    exquisite fascinating favorite favourite fine fortunate fresh friendly fun funny generous gentle glorious
    good graceful grand grateful great happily happiness happy helpful heroic honest hope hopeful imaginative
    impressive ingenious inspired intelligent interesting joy joyful kind kindly lively love loved lovely loving
    loyal magnificent marvellous masterpiece memorable merry moving nice noble outstanding passionate perfect
    perfectly pleasant pleased pleasing pleasure popular powerful praise praised precious pretty proud pure
    remarkable rich romantic satisfying sincere skilful smart smile splendid strong stunning success successful
    superb sweet talented tender terrific thoughtful touching triumph valuable vivid warm welcome win wise witty
    wonder wonderful worthy
    """.split()  # noqa: SIM905
)
BLAME = frozenset(
    """
    absurd afraid anger angry annoying anxious ashamed awful awkward bad badly bitter bland bleak boring brutal
    careless clumsy cold confused corrupt coward crazy crime cruel crude cruelty damage dangerous dead deadly
    depressing desperate despised dirty disappointed disappointing disaster disease disgust disgusting dismal
    dread dreadful dreary dull dumb empty evil fail failed failing failure false fatal fear feeble filthy flawed
    foolish forced frightened gloomy grief grim guilty harsh hate hated hateful hatred hideous hollow hopeless
    horrible horror hurt idiot inferior insult lame lazy lifeless lonely loose lose lost mad mean mediocre mess
    miserable misery monster mistake murder nasty nonsense odd offensive pain painful pale pathetic pitiful
    poison poor poorly problem ridiculous rotten rough rude ruin ruined sad sadly savage shallow shame sick
    silly slow sorrow sorry strange stupid suffer suffering tedious terrible terribly terror tired tragic
    trouble ugly unable uncomfortable unfair unfortunate unhappy unjust unpleasant useless vain vicious victim
    vile violent vulgar waste wasted weak weary wicked worse worst worthless wrong
    """.split()  # noqa: SIM905
)
NEGATIONS = frozenset(
    [
        "cannot",
        "hardly",
        "neither",
        "never",
        "no",
        "nobody",
        "none",
        "nor",
        "not",
        "nothing",
        "scarcely",
        "without",
    ]
)

ARTICLES_ABOUT = {
    "art": "album band book cartoon character film franchise genre instrument movie novel play poem series song style "
    "subgenre",
    "business": "bank brand business company corporation currency economy firm industry product trade",
    "people": "activist actor actress architect artist author cartoonist chemist comedian composer director economist "
    "emperor engineer filmmaker general inventor king mathematician musician novelist officer painter philosopher "
    "physician physicist poet politician producer professor scientist sculptor singer songwriter statesman writer",
    "places": "archipelago capital city country county district island lake mountain municipality nation port province "
    "region republic river state territory town village",
    "politics": "agreement army battle conflict constitution court election empire forces government law movement "
    "organization parliament party treaty union war",
    "nature": "animal bird breed disease disorder drug family fish fruit genus mammal order plant species tree",
    "religion": "belief bible christian church deity feast festival god goddess holiday monastery religion saint",
    "science": "acid algorithm atom branch chemical compound constellation crystal device discipline element equation "
    "field function galaxy machine measure metal method mineral molecule number particle planet process protocol "
    "science set star substance technique theorem theory unit",
    "sport": "athlete champion club cricketer footballer game league player sport stadium team tournament",
    "technology": "aircraft architecture car computer engine format game language microprocessor network rocket ship "
    "software spacecraft standard system vehicle weapon",
}
"""Nouns that open articles, by topic (those under two topics tell none)."""

SUBJECT = re.compile(
    r"\b(?:is|was|are|were) (?:an?|the|one of the) ((?:[\w'-]+ )*?[\w'-]+?)"
    r"(?= (?:of|in|from|by|for|who|which|that|on|at|with|to|and|or|as|near|between|\w+ed|held|known|written)\b|[,.;(:])"
)
"""What an article says it is about: the noun phrase up to a preposition, a relative clause or a comma."""

RESERVOIR = 200_000
"""Pairs of sentences kept to draw from."""


def sentence_tasks(lines: Iterable[str], count: int, *, seed: int) -> dict[str, list[Labelled]]:
    """``count`` examples of every task, fewer where the corpora have no more to give.

    Args:
        lines: paragraphs, with empty lines between documents.
        count: examples of each task; 0 gives none and reads nothing.
        seed: of the draw.
    """
    if not count:
        return {}
    rng = np.random.default_rng(seed)
    paragraphs = list(lines)
    neighbours = _sample(_neighbours(paragraphs), RESERVOIR, rng)
    makers: dict[str, Callable[[int], Labelled | None]] = {
        "acceptability": lambda i: _acceptability(neighbours[i][0], i % 2 == 0, rng),
        "follows": lambda i: _follows(neighbours, i, i % 2 == 0, rng),
        "paraphrase": lambda i: _paraphrase(neighbours, i, i % 2 == 0, rng),
        "sentiment": lambda i: _sentiment(
            " ".join(neighbours[i][: 1 + i % 3 // 2]), i % 2 == 0, rng
        ),
    }
    tasks: dict[str, list[Labelled]] = {}
    for name, make in makers.items():
        made = (make(int(i)) for i in rng.permutation(len(neighbours)))
        tasks[name] = [
            example for example, _ in zip(filter(None, made), range(count), strict=False)
        ]
    tasks |= _article_tasks(paragraphs, count, rng)
    return {name: examples for name, examples in tasks.items() if examples}


def _sentences(paragraph: str) -> list[str]:
    return re.split(r"(?<=[.!?])\s+(?=[A-Z])", paragraph)


def _neighbours(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Consecutive sentences of a paragraph, both of a usable length."""
    for line in lines:
        for left, right in itertools.pairwise(_sentences(line)):
            if len(left.split()) in WORDS and len(right.split()) in WORDS:
                yield left, right


def _sample(
    pairs: Iterable[tuple[str, str]], size: int, rng: np.random.Generator
) -> list[tuple[str, str]]:
    """A uniform sample of a stream (algorithm R of Vitter 1985)."""
    kept: list[tuple[str, str]] = []
    for i, pair in enumerate(pairs):
        if i < size:
            kept.append(pair)
        elif (slot := int(rng.integers(i + 1))) < size:
            kept[slot] = pair
    return kept


def _two(name_of_true: str, name_of_false: str, true: bool) -> tuple[str, tuple[str, str]]:
    """Target and choices of a yes/no question with these names."""
    return (name_of_true if true else name_of_false), (name_of_false, name_of_true)


def _acceptability(sentence: str, keep: bool, rng: np.random.Generator) -> Labelled:
    words = sentence.split()
    if not keep:
        start = int(rng.integers(1, len(words) - 3))
        disturb = int(rng.integers(3))
        if disturb == 0:
            words[start : start + 3] = [words[start + 2], words[start], words[start + 1]]
        elif disturb == 1:
            moved = words.pop(start)
            words.insert(start + 1 + int(rng.integers(len(words) - start - 1)), moved)
        else:
            del words[start]
    return Labelled(f"sentence: {' '.join(words)}", *_two("acceptable", "unacceptable", keep))


def _follows(
    neighbours: Sequence[tuple[str, str]], i: int, keep: bool, rng: np.random.Generator
) -> Labelled:
    left, right = neighbours[i]
    if not keep:
        right = neighbours[int(rng.integers(len(neighbours)))][1]
    return Labelled(f"sentence1: {left} sentence2: {right}", *_two("yes", "no", keep))


def _paraphrase(
    neighbours: Sequence[tuple[str, str]], i: int, keep: bool, rng: np.random.Generator
) -> Labelled | None:
    words = neighbours[i][0].split()
    if keep:
        small = [k for k, word in enumerate(words) if word in SMALL_WORDS]
        if not small:
            return None
        dropped = {int(k) for k in rng.choice(small, size=min(2, len(small)), replace=False)}
        changed = [word for k, word in enumerate(words) if k not in dropped]
    else:
        content = [k for k, word in enumerate(words) if len(word) > 4 and word.isalpha()]
        other = [
            w
            for w in neighbours[int(rng.integers(len(neighbours)))][0].split()
            if len(w) > 4 and w.isalpha()
        ]
        if not content or not other:
            return None
        changed = list(words)
        changed[int(rng.choice(content))] = str(rng.choice(other))
        small = [k for k, word in enumerate(changed) if word in SMALL_WORDS]
        if small:  # shorten these too, so that length tells nothing
            del changed[int(rng.choice(small))]
    source = f"sentence1: {' '.join(words)} sentence2: {' '.join(changed)}"
    return Labelled(source, *_two("equivalent", "not_equivalent", keep))


def _sentiment(text: str, praise: bool, rng: np.random.Generator) -> Labelled | None:
    """A text whose evaluative words are all of the wanted sign; ``None`` where there is none or a negation."""
    words = text.split()
    bare = [word.strip(".,;:!?\"'()").lower() for word in words]
    wanted, other = (PRAISE, BLAME) if praise else (BLAME, PRAISE)
    if not wanted.intersection(bare) or not (other | NEGATIONS).isdisjoint(bare):
        return None
    if rng.integers(2):
        words = [word for word, plain in zip(words, bare, strict=True) if plain not in wanted]
    return Labelled(f"sentence: {' '.join(words)}", *_two("positive", "negative", praise))


def _article_tasks(
    paragraphs: Sequence[str], count: int, rng: np.random.Generator
) -> dict[str, list[Labelled]]:
    topics: dict[str, list[str]] = {}
    for topic, words in ARTICLES_ABOUT.items():
        for noun in words.split():
            topics.setdefault(noun, []).append(topic)
    topic_of = {noun: among[0] for noun, among in topics.items() if len(among) == 1}
    articles: dict[str, list[str]] = {}
    for document in _documents(paragraphs):
        first, *rest = _sentences(document[0])
        match = SUBJECT.search(first)
        noun = match[1].split()[-1] if match else ""
        if noun in topic_of:
            pairs = _neighbours([" ".join(rest), *document[1:]])
            articles.setdefault(noun, []).extend(f"text: {left} {right}" for left, right in pairs)
    nouns = tuple(sorted(noun for noun, texts in articles.items() if texts))
    labels = tuple(ARTICLES_ABOUT)
    by_topic = {label: [noun for noun in nouns if topic_of[noun] == label] for label in labels}
    tasks: dict[str, list[Labelled]] = {"topic": [], "subject": []}
    filled = [label for label in labels if by_topic[label]]
    for i in range(count if filled else 0):
        noun = str(rng.choice(by_topic[filled[i % len(filled)]]))
        text = articles[noun][int(rng.integers(len(articles[noun])))]
        tasks["topic"].append(Labelled(text, topic_of[noun], labels))
        tasks["subject"].append(Labelled(text, noun, nouns))
    return tasks


def _documents(lines: Iterable[str]) -> Iterator[list[str]]:
    """Paragraphs of each document; an empty line ends one."""
    for full, group in itertools.groupby(lines, key=bool):
        if full:
            yield list(group)
