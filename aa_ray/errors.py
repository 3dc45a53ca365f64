"""Exit statuses, and the exceptions whose message is for the user."""

FAILED_WORK, WRONG_USAGE = 1, 2
INTERRUPTED, PIPE_CLOSED, TERMINATED = 130, 141, 143  # 128 + the signal, as shells count

# Maximum number of characters of a wrong value in a message.
MOST_SHOWN = 200


class UsageError(Exception):
    """Wrong usage: a command ends with this one line on standard error and exit status 2.

    The message says what was wrong, what was expected and what to do.
    """


class AdapterError(UsageError, ValueError):
    """The method is not defined for this adapter in this model or composition.

    It is a ValueError so that AdapterHub removes the half-added adapter.
    """


class SweepError(Exception):
    """The sweep cannot continue now, but may later: the command prints one line, exit status 1."""


class ChangedInputError(SweepError):
    """The backbone or the data changed after the trials were planned.

    A trial's id identifies its inputs, so it must not be trained on different ones.
    """


class TrainingError(Exception):
    """A trial cannot continue; the message says why and at which step."""


class DeviceError(SweepError):
    """The GPU no longer works in this process; a new process may be able to use it."""


class StorageError(Exception):
    """The results folder fails: full disk, read-only, no permission, unreachable.

    The trial is not at fault. The sweep stops, and continues when it is run again.
    """


class CheckpointError(Exception):
    """A checkpoint cannot be loaded; the message says why."""


def one_line(text: object) -> str:
    """The text in one line, safe to print on a terminal.

    Text from files and libraries may contain line breaks, which would look like separate messages,
    and escape sequences, which a terminal would execute.
    """
    return printable(" ".join(str(text).split()))


def printable(text: str) -> str:
    """The text with control characters escaped as in Python, such as \\x1b."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shortened(value: object, most: int = MOST_SHOWN) -> str:
    """The value for a message: only its first characters if it is very long."""
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}..."


def with_short_words(line: str, most: int = 5 * MOST_SHOWN) -> str:
    """The line with very long words cut; a word may be a path, so ``most`` is generous."""
    return " ".join(shortened(word, most) for word in line.split(" "))


def unknown(what: str, value: object, allowed: object) -> UsageError:
    """The error for a name outside a fixed set: ``unknown task 'colla' (allowed: cola, sst2)``."""
    names = ", ".join(str(name) for name in allowed)  # type: ignore[attr-defined]
    return UsageError(f"unknown {what} {shortened(value)!r} (allowed: {names})")
