"""Exit statuses, and the exceptions whose message is for the user."""

FAILED_WORK, WRONG_USAGE = 1, 2
INTERRUPTED, PIPE_CLOSED, TERMINATED = 130, 141, 143  # 128 + the signal, as shells count

# Characters of a wrong value that a message repeats.
MOST_SHOWN = 200


class UsageError(Exception):
    """Wrong usage: a command ends with this one line on standard error and exit status 2.

    The message says what was wrong, what was expected and what to do.
    """


class AdapterError(UsageError, ValueError):
    """An adapter that the method is not defined for, in this model or composition.

    A ValueError, on which AdapterHub removes what it had added of the adapter.
    """


class SweepError(Exception):
    """A sweep cannot go on now, but the same command may later: one line and exit status 1."""


class ChangedInputError(SweepError):
    """Backbone or data are not those that the trials were planned with.

    A trial's id stands for its inputs, so nothing may be trained on others under that id.
    """


class TrainingError(Exception):
    """A trial cannot go on; the message says why and when."""


class DeviceError(SweepError):
    """The GPU, as this process has it, is of no use any more; another process may do better."""


class StorageError(Exception):
    """The results folder fails: disk full, read-only, no permission, out of reach.

    Not the fault of a trial; a sweep that meets it stops, and goes on when it is run again.
    """


class CheckpointError(Exception):
    """A checkpoint does not load; the message says why."""


def one_line(text: object) -> str:
    """The text on one line, fit for a terminal.

    What comes from files and libraries may hold line breaks, which would look like lines of ours,
    and escape sequences, which a terminal would obey.
    """
    return printable(" ".join(str(text).split()))


def printable(text: str) -> str:
    """The text with its control characters as Python writes them, such as \\x1b."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shortened(value: object, most: int = MOST_SHOWN) -> str:
    """The value as a message repeats it: its first characters, if it has very many."""
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}..."


def unknown(what: str, value: object, allowed: object) -> UsageError:
    """The error for a name outside a fixed set: ``unknown task 'colla' (allowed: cola, sst2)``."""
    names = ", ".join(str(name) for name in allowed)  # type: ignore[attr-defined]
    return UsageError(f"unknown {what} {shortened(value)!r} (allowed: {names})")
