"""The kinds of values that options take: each function checks what was typed, and converts it.

Each is, or makes, the ``type`` of an option of ``argparse``. It raises ``UsageError``, which
argparse lets through, since argparse's own wording does not say what to do.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aa_ray.core import deviations
from aa_ray.data import regimes
from aa_ray.errors import UsageError, unknown

# A longer range of seeds is a typing error.
MOST_SEEDS = 10_000


def check_name(what: str, value: str, allowed: Iterable[str]) -> str:
    """The name, which must be among the allowed ones.

    Raises:
        UsageError: it is not.
    """
    if value not in allowed:
        raise unknown(what, value, allowed)
    return value


def one_of(what: str, allowed: Iterable[str]) -> Callable[[str], str]:
    """A name out of a fixed set."""
    return lambda text: check_name(what, text, allowed)


def number(option: str, kind: type[int] | type[float], least: float) -> Callable[[str], Any]:
    """A finite number of that kind, not below ``least``."""

    def convert(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value < float("inf"):
            words = "a whole number" if kind is int else "a number"
            raise UsageError(f"{option} {text}: expected {words}, {least} or more")
        return value

    return convert


def above_zero(option: str, of_what: str) -> Callable[[str], float]:
    """A finite number above 0, in units of ``of_what``."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not 0 < value < float("inf"):
            raise UsageError(f"{option} {text}: expected a number of {of_what} above 0")
        return value

    return convert


def number_or_auto(
    option: str, kind: type[int] | type[float], least: float
) -> Callable[[str], Any]:
    """As ``number``, but None for the word auto."""
    convert = number(option, kind, least)
    return lambda text: None if text == "auto" else convert(text)


def seed(option: str) -> Callable[[str], int]:
    """A seed, as numpy and torch take it."""

    def convert(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) >= 2**32:
            raise UsageError(f"{option} {text}: expected integers from 0 to 4294967295")
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


# The words that ``--rates`` takes in place of a number.
RATES = ("backbone", "released", "tuned")


def rates(text: str) -> str | float:
    """A word of ``RATES``, or a learning rate."""
    if text in RATES:
        return text
    try:
        rate = float(text)
    except ValueError:
        raise unknown("rates", text, [*RATES, "a number"]) from None
    if not 0 < rate < float("inf"):
        raise UsageError(f"--rates {text}: expected a number above 0")
    return rate


def setting(text: str) -> tuple[str, str]:
    """Name and value of a setting in which paper and released code differ."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text}: expected NAME=VALUE, such as denominator=B")
    deviations.check(name, value)
    return name, value
