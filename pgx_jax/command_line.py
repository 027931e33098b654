"""A command line from dataclasses: every setting is declared once, as a field with its description.

tyro makes options, help and most messages of them. This file makes the settings of a configuration
optional, shows the values of a preset in the help, and puts a mistake into one line.
"""

import dataclasses
import difflib
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from pgx_jax.experiments.leaves import annotations, is_settings, leaf_values, leaves, replace_leaves

_MARKERS = (
    tyro.conf.OmitArgPrefixes,
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.UseAppendAction,
    tyro.conf.PositionalMetavarFromFieldName,
)
_HELP = ("-h", "--help", "--tyro-")
_NUMBERS = {int: "a whole number", float: "a number"}


class CommandLineError(ValueError):
    """A mistake on the command line, as one line that names cause and remedy."""


def read_command(
    arguments: Sequence[str],
    commands: Mapping[str, type],
    *,
    program: str,
    description: str,
    preset: Callable[[Any], Any] = lambda command: None,
) -> Any:
    """The command that the arguments ask for, with its options.

    Args:
        arguments: those of the program, without its name.
        commands: dataclass by command; see ``options_of``.
        program: its name.
        description: of the program, for its help.
        preset: from a command as far as it is given, a configuration whose values the help shows;
            None where there is none.

    Returns:
        An instance of a class derived from the command's. Settings of the dataclasses in it are
        None or () where they were not given.

    Raises:
        CommandLineError: a mistake.
        SystemExit: help was asked for and printed.
    """
    if not arguments:
        choices = ", or ".join(f"{program} {name}" for name in commands)
        raise CommandLineError(f"say what to do: {choices}, or --help")
    kinds = {name: options_of(kind) for name, kind in commands.items()}
    name, *rest = arguments
    if name.startswith(_HELP):
        both = [Annotated[kind, tyro.conf.subcommand(name)] for name, kind in kinds.items()]
        union: Any = Union[tuple(both)]  # noqa: UP007
        tyro.cli(union, prog=program, description=description, args=arguments, config=_MARKERS)
    if name not in kinds:
        hint = _nearest(name, kinds) or f". It is one of: {', '.join(kinds)}"
        raise CommandLineError(f'unknown command "{name}"{hint}')
    kind, program = kinds[name], f"{program} {name}"
    asked = [one for one in rest if not one.startswith(_HELP)]
    if len(asked) < len(rest):
        shown = _shown_values(kind, program, asked, preset)
        tyro.cli(kind, prog=program, args=["--help"], default=shown, config=_MARKERS)
    return _parse(kind, program, rest)


def given_options(command: Any) -> dict[str, Any]:
    """The settings of a command that have a value, by name."""
    return {name: value for name, value in leaf_values(command).items() if value not in (None, ())}


def options_of(kind: type, *, optional: bool = False) -> Any:
    """The dataclass as tyro has to see it, with the settings of the dataclasses in it optional.

    It is derived from the dataclass, so that tyro finds the descriptions of the fields.

    Args:
        kind: frozen dataclass. ``metadata={"option": NAME}`` names the option of a field; a field
            without a default, or with ``metadata={"positional": True}``, is positional. Whatever
            takes a name or an object takes the name; what has no text, such as a function, is no
            option.
        optional: whether its own settings are optional too.

    Returns:
        A dataclass with the same fields.

    Raises:
        ValueError: two options have one name.
    """
    leaves(kind)
    fields: list[Any] = []
    for field, hint in zip(dataclasses.fields(kind), annotations(kind).values(), strict=True):
        written = _written_type(hint)
        keywords: dict[str, Any] = {"metadata": field.metadata}
        required = field.default is field.default_factory is dataclasses.MISSING
        if not required and not is_settings(hint):
            keywords["default"] = () if get_origin(written) is tuple else None
            if not optional and field.default is not dataclasses.MISSING:
                keywords["default"] = field.default
        if is_settings(hint):
            annotation = options_of(hint, optional=True)
        elif written is None:
            annotation = Annotated[Any, tyro.conf.Suppress, tyro.conf.Fixed]
        else:
            name = field.metadata.get("option")
            annotation = Annotated[written, tyro.conf.arg(name=name, help_behavior_hint=_hint)]
            if required or field.metadata.get("positional"):
                annotation = tyro.conf.Positional[annotation]
        fields.append((field.name, annotation, dataclasses.field(**keywords)))
    namespace = {"__doc__": kind.__doc__, "__module__": kind.__module__}
    # The checks of a class are for whole configurations.
    namespace["__post_init__"] = lambda self: None
    return dataclasses.make_dataclass(
        kind.__name__, fields, bases=(kind,), namespace=namespace, frozen=True, kw_only=True
    )


def _written_type(hint: Any) -> Any:
    """How a setting is written, as a type for tyro; None where it cannot be."""
    kinds = [one for one in get_args(hint) if one is not NoneType]
    if get_origin(hint) in (Union, UnionType):
        return _written_type(str if str in kinds else kinds[0] if len(kinds) == 1 else None)
    if hint is bool or (get_origin(hint) is tuple and kinds == [str, ...]):
        return hint
    choices = tuple(kinds) if get_origin(hint) is Literal else None
    if choices is None and hint not in (int, float, str, Path):
        return None
    spec = PrimitiveConstructorSpec(
        nargs=1,
        metavar="{" + ",".join(choices) + "}" if choices else hint.__name__.upper(),
        instance_from_str=lambda texts: texts[0] if choices else _value(hint, texts[0]),
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
        choices=choices,
    )
    return Annotated[Any, spec]


def _value(kind: Any, text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f'it takes {_NUMBERS[kind]}, not "{text}"') from None


def _hint(default: str) -> str:
    return "" if default in ("", "None", "False") else f"(default: {default})"


def _parse(kind: Any, program: str, arguments: Sequence[str]) -> Any:
    """The command; a mistake where tyro refuses the arguments, or leaves some over."""
    printed = io.StringIO()
    try:
        # For a stream without an encoding, tyro writes ASCII without colours.
        with redirect_stdout(printed), redirect_stderr(printed):
            command, unknown = tyro.cli(
                kind, prog=program, args=arguments, config=_MARKERS, return_unknown_args=True
            )
    except SystemExit:
        # The cause stands between the title of a box and the help on the option.
        parts = re.split(r"\n *--+ *\n", printed.getvalue())
        cause = " ".join(parts[min(1, len(parts) - 1)].split()).rstrip(".")
        remedy = f"{program} --help says what it takes"
        raise CommandLineError(f"{cause[:1].lower()}{cause[1:]}; {remedy}") from None
    if unknown:
        raise CommandLineError(_left_over(unknown[0], arguments, kind, program))
    return command


def _left_over(token: str, arguments: Sequence[str], kind: type, program: str) -> str:
    """What is wrong with an argument that belongs to no option."""
    flags = {
        "--" + field.metadata.get("option", name).replace("_", "-"): field
        for name, field in leaves(kind).items()
    }
    if token.startswith("-"):
        name = token.partition("=")[0]
        hint = _nearest(name, flags) or "."
        return f'unknown option "{name}"{hint} {program} --help names the options'
    if token not in arguments:
        flag = next((one for one in arguments if one.endswith(f"={token}")), "").partition("=")[0]
        return f'{flag} takes no value; leave "={token}" out'
    before = [one.partition("=")[0] for one in arguments[: arguments.index(token)]]
    last = next((one for one in reversed(before) if one in flags), None)
    remedy = f"{program} --help says what it takes"
    if last is not None and isinstance(flags[last].default, tuple):
        remedy = f'write "{last} {token}"; {last} goes before every value'
    return f'unexpected argument "{token}"; {remedy}'


def _nearest(name: str, known: Iterable[str]) -> str:
    # Dashes in front, which all options have, make nothing alike.
    bare = {one.lstrip("-"): one for one in known}
    found = difflib.get_close_matches(name.lstrip("-").replace("_", "-"), bare, n=1, cutoff=0.6)
    return f'; did you mean "{bare[found[0]]}"?' if found else ""


def _shown_values(
    kind: Any, program: str, arguments: Sequence[str], preset: Callable[[Any], Any]
) -> Any:
    """The values that the help shows: those of a preset where the arguments say of which."""
    try:
        command = _parse(kind, program, arguments)
    except CommandLineError:
        return tyro.MISSING_NONPROP
    config, known = preset(command), leaves(kind)
    values = {} if config is None else leaf_values(config)
    return replace_leaves(command, {name: values[name] for name in values if name in known})
