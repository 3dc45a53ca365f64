"""Checks and converts the values of options.

Each function is, or returns, the ``type`` of an ``argparse`` option. It raises ``UsageError``,
which argparse passes on, since argparse's own messages do not say what to do.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from aa_ray.core import deviations
from aa_ray.data import regimes
from aa_ray.errors import UsageError, shortened, unknown
from aa_ray.sweep.resources import host_and_port

# Longer ranges of seeds and larger numbers must be typing errors.
MOST_SEEDS = 10_000
MOST = 1_000_000

# No file system has longer paths and names.
MOST_BYTES = 4096


def check_name(what: str, value: str, allowed: Iterable[str]) -> str:
    """The name, if it is among the allowed ones.

    Raises:
        UsageError: it is not.
    """
    if value not in allowed:
        raise unknown(what, value, allowed)
    return value


def one_of(what: str, allowed: Iterable[str]) -> Callable[[str], str]:
    """A name from a fixed set."""
    return lambda text: check_name(what, text, allowed)


def number(
    option: str, kind: type[int] | type[float], least: float, most: float = MOST
) -> Callable[[str], Any]:
    """A number of this type from ``least`` to ``most``."""

    def convert(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        words = "a whole number" if kind is int else "a number"
        if value is None or not least <= value < float("inf"):
            raise UsageError(f"{option} {shortened(text)}: expected {words}, {least} or more")
        if value > most:
            raise UsageError(f"{option} {shortened(text)}: expected {words}, at most {most:,}")
        return value

    return convert


def above_zero(option: str, of_what: str) -> Callable[[str], float]:
    """A finite number above 0, in units of ``of_what``."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not 0 < value <= MOST:
            raise UsageError(
                f"{option} {shortened(text)}: expected a number of {of_what} above 0, and at most "
                f"{MOST:,}"
            )
        return value

    return convert


def share(option: str) -> Callable[[str], float]:
    """A number between 0 and 1, both excluded."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not 0 < value < 1:
            raise UsageError(f"{option} {shortened(text)}: expected a number between 0 and 1")
        return value

    return convert


def number_or_auto(
    option: str, kind: type[int] | type[float], least: float, most: float = MOST
) -> Callable[[str], Any]:
    """A number as for ``number``, or None for the word auto."""
    convert = number(option, kind, least, most)
    return lambda text: None if text == "auto" else convert(text)


def seed(option: str) -> Callable[[str], int]:
    """A seed that numpy and torch accept."""

    def convert(text: str) -> int:
        digits = text.isascii() and text.isdigit() and len(text.lstrip("0")) <= 10
        if not digits or int(text[-10:]) >= 2**32:
            raise UsageError(f"{option} {shortened(text)}: expected integers from 0 to 4294967295")
        return int(text)

    return convert


def seeds(text: str) -> Sequence[int]:
    """The seed, or the seeds of a range such as 100-119."""
    convert = seed("--seeds")
    first, dash, last = text.partition("-")
    if not (dash and first):
        return [convert(text)]
    start, stop = convert(first), convert(last)
    if not start <= stop < start + MOST_SEEDS:
        raise UsageError(f"--seeds {text}: expected a range of 1 to {MOST_SEEDS} seeds")
    return range(start, stop + 1)


def regime(text: str) -> str:
    """The name of a regime: a number of annotated examples, or full."""
    return regimes.get(text).name


# The words that ``--rates`` accepts besides numbers.
RATES = ("backbone", "released", "tuned")
MOST_RATE = 1e30


def rates(text: str) -> str | float:
    """A word of ``RATES``, or a learning rate."""
    if text in RATES:
        return text
    try:
        rate = float(text)
    except ValueError:
        raise unknown("rates", text, [*RATES, "a number"]) from None
    if not 0 < rate <= MOST_RATE:
        raise UsageError(
            f"--rates {shortened(text)}: expected a number above 0, and at most {MOST_RATE:g}"
        )
    return rate


def setting(text: str) -> tuple[str, str]:
    """Name and value of a setting in which paper and released code differ."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {shortened(text)}: expected NAME=VALUE, such as denominator=B")
    deviations.check(name, value)
    return name, value


def place(option: str) -> Callable[[str], str]:
    """A path or another name; a path must be one that can exist."""

    def convert(text: str) -> str:
        if not text.strip():
            raise UsageError(f"{option}: empty; omit the option, or give it a value")
        try:
            Path(text).expanduser().exists()
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or "no such user"
            raise UsageError(f"{option} {shortened(text)}: not a path ({reason})") from error
        return text

    return convert


def address(text: str) -> str:
    """The address of a Ray cluster: auto, host:port or ray://host:port."""
    try:
        if text != "auto":
            host_and_port(text)
    except ValueError as error:
        raise UsageError(
            f"--address {shortened(text)}: expected host:port, ray://host:port or auto"
        ) from error
    return text


def check_text(arguments: Iterable[str]) -> None:
    """Refuse arguments that are invalid for all options, before any library sees them.

    Raises:
        UsageError: an argument is too long, or has a NUL or bytes that are not UTF-8.
    """
    for argument in arguments:
        if "\0" in argument or not _is_utf8(argument):
            raise UsageError(f"{shortened(argument)}: expected text in UTF-8, without NUL")
        if len(argument) > MOST_BYTES:
            raise UsageError(
                f"{shortened(argument)}: {len(argument):,} characters; expected {MOST_BYTES:,} at "
                "most"
            )


def _is_utf8(text: str) -> bool:
    """Whether the argument was valid UTF-8: no byte was kept as a surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
