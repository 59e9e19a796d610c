"""What to learn: text-to-text tasks, their metrics, and the way from rows to batches. Imports no JAX and no SQL."""

from tasks.errors import TaskError
from tasks.mixture import Mixture
from tasks.registry import get_learnable, get_task, registry
from tasks.task import Example, Split, Task

__all__ = [
    "Example",
    "Mixture",
    "Split",
    "Task",
    "TaskError",
    "get_learnable",
    "get_task",
    "registry",
]
