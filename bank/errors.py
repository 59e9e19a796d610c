"""What can go wrong with a bank, one line each."""

from __future__ import annotations


class BankError(ValueError):
    """A bank that cannot be opened, read or written, or something it does not hold."""
