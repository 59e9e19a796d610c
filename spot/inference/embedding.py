"""Prompt and text embedded together, for servers that take ``prompt_embeds`` in place of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spot.backbone.load import Backbone
from spot.errors import SpotError


def prompt_embeds(
    backbone: Backbone, prompt: np.ndarray, texts: Sequence[str], *, form: str = "prompt"
) -> list[np.ndarray]:
    """What a decoder-only model reads before it answers: prompt, text and separator, ``[P + T + 1, H]`` float32 each.

    A server that continues from these generates what the backbone does; ``transformers`` calls them ``inputs_embeds``,
    vLLM ``prompt_embeds``.

    Args:
        backbone: a decoder-only model.
        prompt: ``[P, H]`` float32; P may be 0.
        texts: as the task words them.
        form: ``prompt``, or ``suffix``, which stands behind the text.

    Raises:
        SpotError: an encoder-decoder, or a prompt of another form.
    """
    if not backbone.config.reads_prompts_once:
        raise SpotError(
            f"{backbone.name} is an encoder-decoder, whose encoder reads the prompt; servers take prompt_embeds of "
            "decoder-only models alone"
        )
    if form not in ORDERS:
        raise SpotError(
            "what is put before every layer is no part of an embedded sequence; only a form "
            f"{' or '.join(map(repr, ORDERS))} is"
        )
    table, order = np.asarray(backbone.embedding, np.float32), ORDERS[form]
    separator = table[[backbone.config.start_token_id]]
    before, behind = backbone.config.around.inputs
    return [
        np.concatenate([*order(prompt, table[[*before, *ids, *behind]]), separator])
        for ids in backbone.tokenizer.encode(list(texts))
    ]


ORDERS = {
    "prompt": lambda prompt, text: (prompt, text),
    "suffix": lambda prompt, text: (text, prompt),
}
"""How prompt and text stand, by the form."""
