"""The command reference as Markdown: ``python -m spot.cli.reference > docs/commands.md``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main


def reference() -> str:
    """Every command's help, arguments, options and example."""
    from spot.cli.app import make_app

    root: Any = typer.main.get_command(make_app())
    lines = [
        "# Commands",
        "",
        root.help,
        "",
        "Made by `python -m spot.cli.reference > docs/commands.md`.",
        "",
    ]
    for name, command in _commands(root, "spot"):
        lines += [f"## {name}", "", *_paragraphs(command.help), ""]
        if command.epilog:
            lines += [f"`{command.epilog.removeprefix('Example: ')}`", ""]
        lines += ["| option | meaning | default |", "|---|---|---|"]
        lines += [_row(parameter) for parameter in command.params if parameter.name != "help"]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        full = f"{prefix} {name}"
        if hasattr(command, "commands"):
            yield from _commands(command, full)
        else:
            yield full, command


def _paragraphs(text: str | None) -> list[str]:
    return [line.strip() for line in (text or "").strip().splitlines()]


def _row(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in parameter.opts)
    if parameter.param_type_name == "argument":
        names = f"`{parameter.name.upper()}`"
    if parameter.secondary_opts:
        names += f" / `{parameter.secondary_opts[0]}`"
    default = parameter.default
    shown = "" if default == "" or not _plain(default) else f"`{default}`"
    if parameter.envvar:
        shown += f" (`{parameter.envvar}`)"
    text = " ".join((getattr(parameter, "help", None) or "").split()).replace("|", "\\|")
    return f"| {names} | {text} | {shown.strip()} |"


def _plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


if __name__ == "__main__":
    print(reference(), end="")
