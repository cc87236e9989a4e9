"""What the user sees while a run is going on: a live line on a terminal, plain lines elsewhere.

Everything goes to standard error; standard output is for results. ``NO_COLOR`` is respected by rich.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from types import TracebackType

#: Seconds without output after which the plain view prints the kernel that is running.
_SILENCE_S = 10.0


class View(Protocol):
    """Shows what the runner reports, from several threads where several devices are measured.

    A round or a timing pair is identified by its label from its beginning to its end.
    """

    def say(self, text: str) -> None:
        """Print a line that stays."""

    def begin(self, rounds: int, pairs: int, seconds: float) -> None:
        """The measurement starts: numbers of rounds and of timing pairs, and the estimated seconds that they take."""

    def round(self, label: str) -> None:
        """A round or a timing pair starts."""

    def kernel(self, label: str, name: str) -> None:
        """A kernel of a round or of a timing pair starts."""

    def done(self, label: str, seconds: float, left_s: float) -> None:
        """It has ended after ``seconds``; an estimated ``left_s`` seconds are left of the run."""

    def __enter__(self) -> Self:
        """Start showing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing, whatever happened."""


def view() -> View:
    """Return the view that suits standard error."""
    console = Console(stderr=True, highlight=False)
    return LiveView(console) if console.is_terminal else PlainView(console)


def duration(seconds: float) -> str:
    """Format as ``48 s``, ``3 min 05 s`` or ``2 h 07 min``."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004 - seconds of a minute
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"  # noqa: PLR2004


def amount(rounds: int, pairs: int) -> str:
    """Format as ``75 rounds and 20 timing pairs``, without what there is none of."""
    counts = {"round": rounds, "timing pair": pairs}
    return " and ".join(f"{n} {what}{'s' * (n != 1)}" for what, n in counts.items() if n) or "0 rounds"


class PlainView:
    """Lines for logs and pipes: one per round or pair, and one whenever nothing was printed for ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._planned = 0
        self._numbers: dict[str, int] = {}
        self._start = self._last = time.monotonic()
        self._lock = threading.RLock()

    def say(self, text: str) -> None:
        """Print a line."""
        with self._lock:
            self._console.print(text, markup=False, soft_wrap=True)
            self._last = time.monotonic()

    def begin(self, rounds: int, pairs: int, seconds: float) -> None:
        """Print how much is measured and how long it takes."""
        self._planned, self._start = rounds + pairs, time.monotonic()
        self.say(f"measuring {amount(rounds, pairs)}, about {duration(seconds)}")

    def round(self, label: str) -> None:
        """Remember its number; its line is printed when it ends."""
        with self._lock:
            self._numbers[label] = len(self._numbers) + 1

    def kernel(self, label: str, name: str) -> None:
        """Print the kernel if nothing was printed for a while."""
        with self._lock:
            if time.monotonic() - self._last > _SILENCE_S:
                self.say(f"{self._head(label)}  {name} ...  elapsed {self._elapsed()}")

    def done(self, label: str, seconds: float, left_s: float) -> None:
        """Print its line."""
        self.say(f"{self._head(label)}  {seconds:.1f} s  elapsed {self._elapsed()}, left about {duration(left_s)}")

    def __enter__(self) -> Self:
        """Nothing to start."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to stop."""

    def _head(self, label: str) -> str:
        return f"[{self._numbers.get(label, 0)}/{self._planned}] {label}"

    def _elapsed(self) -> str:
        return duration(time.monotonic() - self._start)


class LiveView:
    """A live bar: column, mode, round, kernel, elapsed time and time left."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left {task.fields[left]}"),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("preparing", total=None, left="?")
        self._running: dict[str, str] = {}
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(text, markup=False, soft_wrap=True)

    def begin(self, rounds: int, pairs: int, seconds: float) -> None:
        """Set the bar's length."""
        self._progress.update(self._task, total=rounds + pairs, left=duration(seconds))

    def round(self, label: str) -> None:
        """Show it."""
        self._show(label, label)

    def kernel(self, label: str, name: str) -> None:
        """Show the kernel."""
        self._show(label, f"{label}  {name}")

    def done(self, label: str, seconds: float, left_s: float) -> None:
        """Advance the bar."""
        with self._lock:
            self._running.pop(label, None)
        self._progress.update(self._task, advance=1, left=duration(left_s))
        self._progress.console.print(f"{label}  {seconds:.1f} s", markup=False, style="dim")

    def __enter__(self) -> Self:
        """Start the bar."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the bar."""
        self._progress.stop()

    def _show(self, label: str, text: str) -> None:
        """Show the state of all that runs: several rounds on a CPU, and one on each of several GPUs."""
        with self._lock:
            self._running[label] = text
            self._progress.update(self._task, description=_escaped("\n".join(self._running.values())))


def _escaped(text: str) -> str:
    """Escape what rich would read as markup."""
    return text.replace("[", r"\[")
