"""Custom tasks, architectures and activations, defined in a Python file for any study.

``--own mine.py`` runs the file in this process and in each worker. The file calls ``task``,
``architecture`` and ``activation``, which extend ``aa_ray.data.tasks``,
``aa_ray.core.architectures`` and AdapterHub. The new names can then be used like built-in ones.
See docs/own.md and docs/custom_methods.md.
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

# AdapterHub's activations (with transformers and torch) and the file readers (with pyarrow) are
# imported where they are needed, since most commands define nothing and should start immediately.
if TYPE_CHECKING:
    pass

# Path and text of the files run so far, in order.
_files: dict[str, str] = {}
# What they have defined; for an activation its full name, which includes the hash of its file.
_tasks: list[str] = []
_methods: list[str] = []
_activations: dict[str, str] = {}


def load(paths: Iterable[str]) -> None:
    """Run the files, except those that have already been run.

    Raises:
        UsageError: a file does not exist, or fails.
    """
    for name in paths:
        path = Path(name).expanduser().resolve()
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--own {name}: cannot be read ({error})") from error
        _run(str(path), text)


def files() -> list[tuple[str, str]]:
    """Path and text of the files run so far, for ``restore`` in another process."""
    return list(_files.items())


def restore(ran: Iterable[Sequence[str]]) -> None:
    """Run the files of another process from their text, since they may not exist here.

    Args:
        ran: their paths and texts, from ``files``.

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
    """Names of the custom tasks."""
    return tuple(_tasks)


def method_names() -> tuple[str, ...]:
    """Names of the custom architectures."""
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
        name: name on the command line.
        train, test: files, CSV, TSV, JSON (a list, or an object per line) or Parquet, relative to
            the file that calls this; with ``hub``, names of splits. ``test`` may also be a share
            of the training data, such as 0.2, which is drawn once and held out.
        texts: the one or two columns with text.
        label: the column with the label.
        metrics: one or more of accuracy, f1, matthews_correlation, pearson and spearman; the first
            selects the best epoch and is shown in tables.
        labels: the values of ``label`` in the order of the classes; omit it to predict a number.
        title: title in tables; default ``name``.
        hub, config, revision: a data set on the hub, its configuration if it has several, and the
            commit, which pins the data.

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
            f"task {name}: without labels it predicts a number; use the metrics spearman, pearson"
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

    Its activation may be any name that AdapterHub knows, or a name returned by ``activation``. Its
    ``layers`` may return any iterable of layer numbers.

    Raises:
        UsageError: the name is taken or not allowed, the activation is unknown, the configuration
            is invalid or incomplete, or an inference depth refers to a selection that is not among
            the method's ``needs``.
    """
    _check_name("method", method.name, architectures.METHODS)
    activation = _activations.get(method.activation, method.activation)
    ours = {RELU, *RATIONALS}  # these are known without importing AdapterHub
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
    """Refuse an AdapterHub configuration that cannot be trained, or that is not used."""
    if method.configuration is None:
        return
    bottleneck = method.switched or method.depths or method.activation != RELU
    if bottleneck or method.fine_tunes:
        raise UsageError(
            f"method {method.name}: switches, depths, activation and fine-tuning cannot be "
            "combined with a configuration; put everything into the configuration"
        )
    from aa_ray.core import configurations

    configurations.read(configurations.as_text(method.configuration))


def activation(name: str, make: Callable[..., Any]) -> str:
    """Define an activation.

    Args:
        name: name for ``Method.activation``.
        make: a function of a tensor, or a subclass of ``torch.nn.Module`` that is created without
            arguments once per layer. Its parameters are trained with the adapters' learning rate.

    Returns:
        AdapterHub's name for it. The name includes the hash of the file's text, since it is part of
        a trial's identity: if the text changes, the activation counts as a different one.

    Raises:
        UsageError: the name is taken or not allowed.
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
    """The names that AdapterHub accepts as a non-linearity."""
    from transformers.activations import ACT2FN

    return [*ACT2FN, "leakyrelu"]


def _caller() -> str:
    """The path of the file that is currently being run."""
    if not _files:
        raise UsageError("custom tasks and activations have to be defined in a file for --own")
    return next(reversed(_files))


def _check_name(what: str, name: str, taken: Iterable[str]) -> None:
    if not re.fullmatch("[a-z0-9][a-z0-9_-]*", name):
        raise UsageError(f"{what} {name!r}: expected a name of a-z, 0-9, - and _")
    if name in taken:
        raise UsageError(f"{what} {name} already exists; choose another name")
