"""A tensor as ``torch.save`` writes it, without PyTorch: what servers take where they take tensors as text."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np


def torch_tensor(values: np.ndarray) -> bytes:
    """The file of a float32 tensor ``[rows, columns]`` that ``torch.load(..., weights_only=True)`` reads.

    It is a ZIP archive of a pickle program, which is written out here and says nothing but the tensor's shape, and of
    the numbers, little-endian and by rows.
    """
    rows, columns = values.shape
    program = b"".join(
        (
            b"\x80\x02",  # protocol 2
            b"ctorch._utils\n_rebuild_tensor_v2\n",
            b"((",
            _text("storage"),
            b"ctorch\nFloatStorage\n",
            _text("0"),
            _text("cpu"),
            _number(values.size),
            b"tQ",  # the storage by these five
            _number(0),  # where the tensor begins in it
            _number(rows) + _number(columns) + b"\x86",
            _number(columns) + _number(1) + b"\x86",  # strides
            b"\x89",  # without a gradient
            b"ccollections\nOrderedDict\n)R",  # without hooks
            b"tR.",
        )
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (
            ("data.pkl", program),
            ("byteorder", b"little"),
            ("data/0", np.ascontiguousarray(values, "<f4").tobytes()),
            ("version", b"3\n"),
        ):
            archive.writestr(zipfile.ZipInfo(f"tensor/{name}", (1980, 1, 1, 0, 0, 0)), content)
    return stream.getvalue()


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)
