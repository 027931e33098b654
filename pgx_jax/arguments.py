"""Mistakes on the command line, each as one line that names cause and remedy."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

_NUMBERS = {int: "a whole number", float: "a number"}


def find_mistake(arguments: Sequence[str], commands: Mapping[str, type], program: str) -> str:
    """What is wrong with the command line, as one line; empty where nothing is.

    Args:
        arguments: those of the program, without its name.
        commands: dataclass by command. Fields without a default are positional, and so are all
            fields of a dataclass with ``positional = True``.
        program: its name, for the remedy.

    Returns:
        Cause and remedy, or "". Where help is asked for, nothing is wrong.
    """
    if {"-h", "--help"} & set(arguments) or any(one.startswith("--tyro-") for one in arguments):
        return ""
    if not arguments:
        return f"say what to do: {', or '.join(f'{program} {one}' for one in commands)}, or --help"
    command, *rest = arguments
    if command not in commands:
        known = ", ".join(commands)
        hint = _nearest(command, commands) or f" It is one of: {known}"
        return f'unknown command "{command}"{hint}'
    return _mistake_in(rest, commands[command], f"{program} {command}")


def _mistake_in(arguments: Sequence[str], kind: type, program: str) -> str:
    """The same for the arguments of one command."""
    fields = dataclasses.fields(kind)
    all_positional = getattr(kind, "positional", False)
    positional = [one for one in fields if all_positional or _is_required(one)]
    options = {"--" + one.name.replace("_", "-"): one for one in fields if one not in positional}
    given, rest = [], list(arguments)
    while rest:
        text = rest.pop(0)
        if text.startswith("-"):
            mistake = _mistake_in_option(text, rest, options, program)
            if mistake:
                return mistake
        else:
            given.append(text)
    if len(given) > len(positional):
        extra = given[len(positional)]
        remedy = f"{program} --help says what it takes"
        if "=" in extra and "--range" in options:
            remedy = f'write "--range {extra}"; --range goes before every parameter'
        return f'unexpected argument "{extra}"; {remedy}'
    lacking = [one.name for one in positional if _is_required(one)][len(given) :]
    return f"{lacking[0]} is missing; {program} --help says what it takes" if lacking else ""


def _mistake_in_option(
    text: str, rest: list[str], options: Mapping[str, dataclasses.Field], program: str
) -> str:
    """What is wrong with an option; takes its value from ``rest``."""
    name, equals, value = text.partition("=")
    option = options.get(name.replace("_", "-"))
    if option is None:
        hint = _nearest(name, options) or "."
        return f'unknown option "{name}"{hint} {program} --help names the options'
    if option.type is bool:
        return f'{name} takes no value; leave "={value}" out' if equals else ""
    if not equals:
        if not rest or rest[0].startswith("--"):
            return f"{name} lacks its value; {program} --help says what it takes"
        value = rest.pop(0)
    return _wrong_number(name, value, option)


def _is_required(field: dataclasses.Field) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _wrong_number(name: str, value: str, option: dataclasses.Field) -> str:
    kinds: tuple[Any, ...] = get_args(option.type) or (option.type,)
    for kind, noun in _NUMBERS.items():
        if kind in kinds:
            try:
                kind(value)
            except ValueError:
                return f'{name} takes {noun}, not "{value}"'
    return ""


def _nearest(name: str, known: Iterable[str]) -> str:
    # Dashes in front, which all options have, make nothing alike.
    bare = {one.lstrip("-"): one for one in known}
    found = difflib.get_close_matches(name.lstrip("-").replace("_", "-"), bare, n=1, cutoff=0.6)
    return f'; did you mean "{bare[found[0]]}"?' if found else ""
