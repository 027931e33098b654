"""Choices by name: what a string in a configuration, or on the command line, stands for.

A registry is a table that is filled where its entries are defined: a new choice is one file and one
``register``. Code that has the object itself passes it in place of the name.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Named choices of one kind, in the order they were registered.

    Attributes:
        noun: what an entry is, for messages.
    """

    def __init__(self, noun: str, entries: Mapping[str, Entry] | None = None) -> None:
        self.noun = noun
        self._entries: dict[str, Entry] = dict(entries or {})

    def register(self, name: str, entry: Entry) -> Entry:
        """Adds a choice.

        Args:
            name: without a colon.
            entry: the choice.

        Returns:
            The entry.

        Raises:
            ValueError: another entry has the name, or it holds a colon.
        """
        if ":" in name:
            raise ValueError(f'"{name}" holds a colon, which is for MODULE:NAME; take it out')
        if self._entries.get(name, entry) is not entry:
            raise ValueError(f'there is a {self.noun} "{name}" already; take another name')
        self._entries[name] = entry
        return entry

    def find(self, choice: Any) -> Entry:
        """The entry that a name stands for; what is no string is taken for the entry itself.

        Args:
            choice: a registered name, "MODULE:NAME" for an object of an importable module, or
                the entry.

        Returns:
            The entry.

        Raises:
            ValueError: an unknown name (the nearest one is suggested), or a module without it.
        """
        if not isinstance(choice, str):
            return choice
        if choice in self._entries:
            return self._entries[choice]
        module, colon, name = choice.partition(":")
        if not colon:
            raise ValueError(unknown_name(self.noun, choice, self._entries))
        try:
            return getattr(import_module(module), name)
        except (ModuleNotFoundError, AttributeError) as error:
            raise ValueError(f'{self.noun} "{choice}" is not there: {error}') from error

    def name_of(self, choice: Any) -> str:
        """The name of a choice, for reports; that of its type where it was never registered."""
        if isinstance(choice, str):
            return choice
        for name, entry in self._entries.items():
            if entry is choice or entry == choice:
                return name
        return getattr(choice, "name", None) or type(choice).__name__

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """Message for an unknown name, with the nearest known one."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f'; did you mean "{nearest[0]}"?' if nearest else "."
    return f'unknown {what} "{name}"{hint} Known: {", ".join(names)}'
