"""Column types: float32 arrays as bytes, and times in UTC."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from sqlalchemy import DateTime, LargeBinary
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from numpy import ndarray as ndarray
else:  # what looks into a bank without reading its prompts starts without NumPy
    ndarray = Any


class Float32Array(TypeDecorator[ndarray]):
    """A float32 array as little-endian bytes; the shape lives in columns of its own, or is flat."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> bytes | None:
        """Bytes of ``value[...]``."""
        import numpy as np

        return None if value is None else np.ascontiguousarray(value, dtype="<f4").tobytes()

    def process_result_value(self, value: Any, dialect: Dialect) -> ndarray | None:
        """Flat, ``[n]``; a last number that is cut off is missing."""
        import numpy as np

        # bytes that end within a number are damage: without their end the size is wrong, and that is noticed
        return None if value is None else np.frombuffer(value, dtype="<f4", count=len(value) // 4)


class UtcTime(TypeDecorator[dt.datetime]):
    """A point in time, stored in UTC and read back aware of it."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        return None if value is None else value.astimezone(dt.UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:
        return None if value is None else value.replace(tzinfo=dt.UTC)
