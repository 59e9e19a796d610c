"""Prompt and text embedded together, for servers that take ``prompt_embeds`` in place of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spot.backbone.load import Backbone
from spot.errors import SpotError


def prompt_embeds(backbone: Backbone, prompt: np.ndarray, texts: Sequence[str]) -> list[np.ndarray]:
    """What a decoder-only model reads before it answers: prompt, text and separator, ``[P + T + 1, H]`` float32 each.

    A server that continues from these generates what the backbone does; ``transformers`` calls them ``inputs_embeds``,
    vLLM ``prompt_embeds``.

    Args:
        backbone: a decoder-only model.
        prompt: ``[P, H]`` float32, of the form ``prompt``; P may be 0.
        texts: as the task words them.

    Raises:
        SpotError: an encoder-decoder, or a prompt of another form.
    """
    if not backbone.config.reads_prompts_once:
        raise SpotError(
            f"{backbone.name} is an encoder-decoder, whose encoder reads the prompt; servers take prompt_embeds of "
            "decoder-only models alone"
        )
    if prompt.ndim != 2:
        raise SpotError(
            "what is put before every layer is no part of an embedded sequence; only the form 'prompt' is"
        )
    table = np.asarray(backbone.embedding, np.float32)
    return [
        np.concatenate(
            [prompt, table[[*ids, *backbone.config.ends[0], backbone.config.start_token_id]]]
        )
        for ids in backbone.tokenizer.encode(list(texts))
    ]
