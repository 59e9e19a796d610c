"""Which backbone a prompt from a file was made for, and the refusal of others. No JAX is imported."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bank.identity import by_name
from bank.records import BackboneRecord
from spot.errors import PromptError
from spot.prompts.files import PromptFile
from tasks.errors import shown

if TYPE_CHECKING:
    from spot.backbone.load import Backbone


def check_backbone(file: PromptFile, backbone: Backbone | BackboneRecord) -> None:
    """Refuse a prompt that was made for another backbone; of one without a fingerprint, only name and width are known.

    A name may be a folder's, so that another one is a warning.

    Raises:
        PromptError: it names another fingerprint, or has another width.
    """
    made_for = file.fingerprint or backbone.fingerprint
    if made_for != backbone.fingerprint:
        raise PromptError(
            f"{file.path}: prompt was made for backbone {shown(file.metadata.get('backbone', 'unknown'))} "
            f"({made_for[:12]}), not for {backbone.name} ({backbone.fingerprint[:12]})"
        )
    check_width(file.prompt, backbone, where=str(file.path))
    named = file.metadata.get("backbone", "")
    if file.fingerprint is None and named and Path(named).name != Path(backbone.name).name:
        warnings.warn(
            f"{file.path}: made for a backbone called {shown(named)}, and has no fingerprint to tell whether "
            f"{backbone.name} is the same; with another one its scores mean nothing",
            stacklevel=2,
        )


def check_width(prompt: np.ndarray, backbone: Backbone | BackboneRecord, *, where: str) -> None:
    """Refuse a prompt ``[..., P, H]`` of another width than a backbone's.

    Raises:
        PromptError: beginning with ``where``.
    """
    if prompt.shape[-1] != backbone.width:
        raise PromptError(
            f"{where}: prompt has width {prompt.shape[-1]}, but backbone {backbone.name} has width {backbone.width}; "
            "it was made for another model"
        )


def backbone_of(file: PromptFile, *, name: str = "", fingerprint: str = "") -> BackboneRecord:
    """The backbone that a prompt was made for: as the caller says, and else as its file does.

    Args:
        file: with the prompt.
        name: of the model.
        fingerprint: of the model; where the file has none either, the name stands in.

    Raises:
        PromptError: no name, another than the file's fingerprint goes with, a fingerprint that is no sha256, or a
            prefix whose adapter does not say how wide its model is.
    """
    if file.width_unknown:
        raise PromptError(
            f"{file.path}: a prefix's adapter does not say how wide its model is; give --width"
        )
    name = name or file.metadata.get("backbone", "")
    if not name:
        raise PromptError(
            f"{file.path}: does not name the model it was trained for; give --backbone"
        )
    named = file.metadata.get("backbone", name)
    if file.fingerprint and not fingerprint and Path(named).name != Path(name).name:
        raise PromptError(
            f"{file.path}: says that it was made for backbone {named!r} ({file.fingerprint[:12]}), not {name}; leave "
            "--backbone out, or give that model's --fingerprint"
        )
    if fingerprint and not re.fullmatch("[0-9a-f]{64}", fingerprint):
        raise PromptError(
            f"fingerprint {fingerprint!r}: expected 64 hexadecimal digits, as `spot doctor` prints it"
        )
    return BackboneRecord(
        fingerprint=fingerprint or file.fingerprint or by_name(name),
        name=name,
        width=file.prompt.shape[-1],
    )
