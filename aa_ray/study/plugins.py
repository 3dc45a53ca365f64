"""Custom tasks, architectures and activations, defined in a Python file that any study takes.

``--own mine.py`` runs the file here and in every worker process. There, ``task``, ``architecture``
and ``activation`` add to what ``aa_ray.data.tasks``, ``aa_ray.core.architectures`` and AdapterHub
know; then they can be named like those that come with the package. See docs/own.md.
"""

import dataclasses
import hashlib
import re
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aa_ray.core import architectures
from aa_ray.core.architectures import RELU, Layers, Method
from aa_ray.core.coefficients import RATIONALS
from aa_ray.data import tasks
from aa_ray.data.tasks import METRICS, Task
from aa_ray.errors import UsageError, unknown

# AdapterHub's activations (with transformers and torch) and the readers of files (with pyarrow) are
# imported by the functions that need them: most commands define nothing and should start at once.
if TYPE_CHECKING:
    pass

# Path and text of the files that have been run, in that order.
_files: dict[str, str] = {}
# What they have defined; for an activation its full name, with the hash of its file's text.
_tasks: list[str] = []
_methods: list[str] = []
_activations: dict[str, str] = {}


def load(paths: Iterable[str]) -> None:
    """Run the files; one that has been run already is left out.

    Raises:
        UsageError: a file is not there, or fails.
    """
    for name in paths:
        path = Path(name).expanduser().resolve()
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--own {name}: cannot be read ({error})") from error
        _run(str(path), text)


def files() -> list[tuple[str, str]]:
    """Path and text of the files that have been run, for ``restore`` in another process."""
    return list(_files.items())


def restore(ran: Iterable[Sequence[str]]) -> None:
    """Run the files that another process has run, from their text: they may not be here.

    Args:
        ran: their paths and texts, as ``files`` gives them.

    Raises:
        UsageError: a file fails.
    """
    for path, text in ran:
        _run(path, text)


def _run(path: str, text: str) -> None:
    if path in _files:
        return
    _files[path] = text
    try:
        exec(compile(text, path, "exec"), {"__name__": Path(path).stem, "__file__": path})  # nosec B102
    except UsageError as error:
        raise UsageError(f"--own {path}: {error}") from error
    except Exception as error:
        line = getattr(error, "lineno", None)
        for place in traceback.extract_tb(error.__traceback__):
            line = place.lineno if place.filename == path else line
        raise UsageError(f"--own {path}, line {line}: {type(error).__name__}: {error}") from error


def task_names() -> tuple[str, ...]:
    """The tasks that have been defined."""
    return tuple(_tasks)


def method_names() -> tuple[str, ...]:
    """The architectures that have been defined."""
    return tuple(_methods)


def task(
    name: str,
    *,
    train: str,
    test: str | float,
    texts: Sequence[str],
    label: str,
    metrics: Sequence[str],
    labels: Sequence[object] | None = None,
    title: str | None = None,
    hub: str | None = None,
    config: str | None = None,
    revision: str | None = None,
) -> None:
    """Define a task on custom data, in files or on the hub.

    Args:
        name: for the command line.
        train, test: files, CSV, TSV, JSON (a list, or an object per line) or Parquet, relative to
            the file that calls this; with ``hub`` the names of splits. ``test`` may also be a
            share of the training data, 0.2 say, that is drawn once and held out.
        texts: the one or two columns with text.
        label: the column with the label.
        metrics: of accuracy, f1, matthews_correlation, pearson and spearman; the first decides.
        labels: the values of ``label``, class by class; leave it out to predict a number.
        title: for tables; the name if not given.
        hub, config, revision: a data set on the hub, its configuration if it has several, and the
            commit, so that the data stays what it is.

    Raises:
        UsageError: a name, metric, text or label is not allowed, or a file cannot be read.
    """
    from aa_ray.data.own_files import Files, Hub

    _check_name("task", name, tasks.TASKS)
    _check_task(name, test, texts, metrics, labels)
    values = tuple(map(str, labels or ()))
    origin: Files | Hub
    if hub is not None:
        _check_revision(name, hub, revision)
        origin = Hub(train, test, label, values, hub, config, str(revision))
    else:
        origin = Files(train, test, label, values, str(Path(_caller()).parent))
    unsized = Task(
        name, title or name, tuple(texts), len(values), tuple(metrics), 0, 0,
        test_split="test", labels=values, origin=origin,
    )  # fmt: skip
    train_rows, test_rows = origin.sizes(unsized)
    tasks.TASKS[name] = dataclasses.replace(unsized, train_rows=train_rows, test_rows=test_rows)
    _tasks.append(name)


def _check_task(
    name: str,
    test: str | float,
    texts: Sequence[str],
    metrics: Sequence[str],
    labels: Sequence[object] | None,
) -> None:
    for metric in metrics:
        if metric not in METRICS:
            raise unknown(f"metric of task {name}", metric, METRICS)
    if not metrics or len(texts) not in (1, 2) or (labels is not None and len(labels) < 2):
        raise UsageError(
            f"task {name}: expected a metric, one or two texts, and two labels or more"
        )
    if labels is None and set(metrics) - {"pearson", "spearman"}:
        raise UsageError(
            f"task {name}: without labels a number is predicted; use spearman, pearson"
        )
    if isinstance(test, float) and not 0 < test < 1:
        raise UsageError(f"task {name}: test={test}: expected a share between 0 and 1, or a name")


def _check_revision(name: str, hub: str, revision: str | None) -> None:
    if not re.fullmatch("[0-9a-f]{40}", revision or ""):
        raise UsageError(
            f"task {name}: revision is {revision}, expected the 40 digits of a commit of {hub} "
            "(under Files and versions on its page)"
        )


def architecture(method: Method) -> None:
    """Define an architecture, a row like those of ``aa_ray.core.architectures.METHODS``.

    Its activation may be any name that AdapterHub knows, or one of ``activation``. Its ``layers``
    may return any iterable of layer numbers.

    Raises:
        UsageError: a name that is taken or not allowed, an activation that is not known, a
            configuration that AdapterHub does not take or that is not a whole method, or an
            inference depth that follows no selection the method waits for.
    """
    _check_name("method", method.name, architectures.METHODS)
    activation = _activations.get(method.activation, method.activation)
    ours = {RELU, *RATIONALS}  # known without importing AdapterHub
    if activation not in ours and activation not in _adapterhub_activations():
        known = [*_activations, *_adapterhub_activations()]
        raise unknown(f"activation of method {method.name}", activation, known)
    _check_configuration(method)
    for line in method.depths:
        if line.depth not in method.needs:
            raise unknown(f"depth of method {method.name}", line.depth, method.needs)

    def layers(num_layers: int, *selected: Layers) -> Layers:
        numbers = tuple(sorted(set(method.layers(num_layers, *selected))))
        if any(not isinstance(n, int) or not 0 <= n < num_layers for n in numbers):
            raise UsageError(
                f"method {method.name}: its layers are {numbers}, expected numbers from 0 to "
                f"{num_layers - 1}"
            )
        return numbers

    architectures.METHODS[method.name] = dataclasses.replace(
        method, layers=layers, activation=activation
    )
    _methods.append(method.name)


def _check_configuration(method: Method) -> None:
    """Refuse a configuration of AdapterHub's that cannot be trained, or that is not used."""
    if method.configuration is None:
        return
    bottleneck = method.switched or method.depths or method.activation != RELU
    if bottleneck or method.fine_tunes:
        raise UsageError(
            f"method {method.name}: with a configuration there are no switches, depths or "
            "activation of the method's own, and no fine-tuning; say all in the configuration"
        )
    from aa_ray.core import configurations

    configurations.read(configurations.as_text(method.configuration))


def activation(name: str, make: Callable[..., Any]) -> str:
    """Define an activation.

    Args:
        name: for ``Method``.
        make: a subclass of ``torch.nn.Module``, made without arguments, once per layer; its
            parameters are trained with the adapters' learning rate. Or a function of a tensor.

    Returns:
        AdapterHub's name for it. It holds the hash of the file's text, since trials are known by
        it: an activation of another text is another activation.

    Raises:
        UsageError: a name that is taken or not allowed.
    """
    from torch import nn
    from transformers.activations import ACT2FN

    from aa_ray.core.function_module import FunctionModule

    _check_name("activation", name, [*ACT2FN, *_activations])
    digest = hashlib.sha256(_files[_caller()].encode()).hexdigest()[:8]
    full = f"{name}@{digest}"
    is_module = isinstance(make, type) and issubclass(make, nn.Module)
    ACT2FN[full] = make if is_module else (FunctionModule, {"function": make})
    _activations[name] = full
    return full


def _adapterhub_activations() -> list[str]:
    """The names that AdapterHub takes for a non-linearity."""
    from transformers.activations import ACT2FN

    return [*ACT2FN, "leakyrelu"]


def _caller() -> str:
    """The path of the file that is being run."""
    if not _files:
        raise UsageError("custom tasks and activations are defined in a file that --own names")
    return next(reversed(_files))


def _check_name(what: str, name: str, taken: Iterable[str]) -> None:
    if not re.fullmatch("[a-z0-9][a-z0-9_-]*", name):
        raise UsageError(f"{what} {name!r}: expected a name of a-z, 0-9, - and _")
    if name in taken:
        raise UsageError(f"{what} {name} exists already; give another name")
