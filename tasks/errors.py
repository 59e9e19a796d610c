"""What a user can do wrong with data: one line each, naming the file and the row."""

from __future__ import annotations


class TaskError(ValueError):
    """A task, data file or metric that cannot be found, read or understood."""
