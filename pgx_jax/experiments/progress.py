"""Progress for a person: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

Advance = Callable[[float, str], None]
"""Called with the share done, 0..1, and a short note."""


class Progress:
    """Writes lines, and a bar for the stage at hand where the stream is a terminal."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False):
        """Write to ``stream`` (standard error by default), or not at all."""
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._terminal = not quiet and self._stream.isatty()

    def line(self, text: str) -> None:
        """One line."""
        if not self._quiet:
            self._stream.write(text + "\n")
            self._stream.flush()

    @contextmanager
    def stage(self, name: str) -> Iterator[Advance]:
        """A stage; call what it yields as the work goes on."""
        if self._terminal:
            with self._bar(name) as advance_bar:
                yield advance_bar
            return
        last = time.monotonic()

        def advance(share: float, note: str, /) -> None:
            nonlocal last
            # A log wants a line now and then, not one per update.
            if time.monotonic() - last >= 10:
                last = time.monotonic()
                self.line(f"  {name}: {100 * share:.0f} % {note}")

        yield advance

    @contextmanager
    def _bar(self, name: str) -> Iterator[Advance]:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Bars(*columns, console=Console(file=self._stream), transient=True) as bars:
            bar = bars.add_task(name, total=1.0, note="")
            yield lambda share, note: bars.update(bar, completed=share, note=note)
