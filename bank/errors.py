"""What can go wrong with a bank, one line each."""

from __future__ import annotations


class BankError(ValueError):
    """A bank that cannot be opened, read or written, or something it does not hold."""


class NoBankError(BankError):
    """There is no bank yet where one is looked for."""


def reason(error: Exception) -> str:
    """The first line of an error, of a driver's where there is one behind it, or the name of its class."""
    return (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0]
