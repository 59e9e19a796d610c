"""Options in groups: dataclasses whose fields are options, given whole to commands; and which options were given."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard, get_type_hints

import typer

from spot import paths


def _is_group(hint: Any) -> TypeGuard[type]:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


@functools.cache
def _hints(group: type) -> dict[str, Any]:
    """Types of a group's fields by name: of an option with what Typer is told, or another group."""
    hints = get_type_hints(group, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(group)}


@functools.cache
def _parameters(group: type) -> list[inspect.Parameter]:
    """The options of a group, and of groups in it, as parameters of a command."""
    parameters: list[inspect.Parameter] = []
    for field in dataclasses.fields(group):
        hint = _hints(group)[field.name]
        if _is_group(hint):
            parameters += _parameters(hint)
        else:
            keyword = inspect.Parameter.KEYWORD_ONLY
            parameters.append(
                inspect.Parameter(field.name, keyword, default=field.default, annotation=hint)
            )
    return parameters


def _made(group: type, values: Mapping[str, Any]) -> Any:
    """A group of the options that are its own."""
    fields = _hints(group).items()
    return group(**{n: _made(hint, values) if _is_group(hint) else values[n] for n, hint in fields})


def _expanded(value: Any) -> Any:
    """An option's value, paths with the home folder in place of ``~``."""
    if isinstance(value, list):
        return [_expanded(item) for item in value]
    return paths.expanded(value) if isinstance(value, Path) else value


def takes_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of its parameters that are dataclasses; it receives these whole, and paths expanded.

    A field of such a dataclass is an option, or another such dataclass. Options stand in the order of the signature.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if _is_group(hint)}
    direct: list[str] = []
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            parameters += _parameters(groups[name])
        else:
            direct.append(name)
            parameters.append(
                parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            )

    @functools.wraps(command)
    def run(**given: Any) -> None:
        values = {name: _expanded(value) for name, value in given.items()}
        command(
            **{name: values[name] for name in direct},
            **{name: _made(group, values) for name, group in groups.items()},
        )

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def given(context: typer.Context) -> dict[str, str]:
    """Parameters that stand on the running command's line, not in the environment, as they are spelled there."""
    sources = {p.name: context.get_parameter_source(p.name or "") for p in context.command.params}
    return {
        p.name: p.opts[0]
        for p in context.command.params
        if p.name and (source := sources[p.name]) and source.name == "COMMANDLINE"
    }


def refuse_given(context: typer.Context, unused: Sequence[str | type], because: str) -> None:
    """Refuse options that are on the command line and would not be used.

    Args:
        context: of the running command.
        unused: names of parameters, and groups, all of whose options are meant.
        because: what makes them of no use.

    Raises:
        SpotError: one of them was given.
    """
    from spot.errors import SpotError

    names: list[str] = []
    for entry in unused:
        names += (
            [entry]
            if isinstance(entry, str)
            else [parameter.name for parameter in _parameters(entry)]
        )
    on_line = given(context)
    if refused := [on_line[name] for name in names if name in on_line]:
        raise SpotError(f"{', '.join(refused)} would not be used: {because}; leave it out")
