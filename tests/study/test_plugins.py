"""aa_ray.study.plugins; runs all examples of docs/own.md and docs/custom_methods.md."""

import functools
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from transformers.activations import ACT2FN

from aa_ray import __main__ as program
from aa_ray import hub
from aa_ray.commands import from_options, study
from aa_ray.core import architectures, backbones
from aa_ray.core.architectures import TABLE2, Method
from aa_ray.data import generated, glue, tasks
from aa_ray.data.glue import Source
from aa_ray.errors import UsageError
from aa_ray.report import paper_tables
from aa_ray.store.rows import read
from aa_ray.study import plugins
from aa_ray.training.worker import Worker

DOCS = Path(__file__).parents[2] / "docs"
PAGE = "\n".join((DOCS / name).read_text() for name in ("own.md", "custom_methods.md"))
# Name -> text, of the pages' files.
FILES = {
    code.splitlines()[0].removeprefix("# "): code
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
}
COMMANDS = [
    line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]  # fmt: skip


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Start as in a new process, and remove the definitions afterwards."""
    registries: tuple[dict[str, Any], ...] = (tasks.TASKS, architectures.METHODS, ACT2FN)
    before = [list(registry) for registry in registries]

    def forget() -> None:
        for registry, names in zip(registries, before, strict=True):
            for name in registry.keys() - set(names):
                del registry[name]
        for known in (plugins._files, plugins._tasks, plugins._methods, plugins._activations):
            known.clear()
        glue._load.cache_clear()

    forget()
    yield forget
    forget()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the page's files, and enough data for its first example."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    table = generated.generate("sst2")[0].slice(0, 300).to_pydict()
    lines = [f'"{text}",{("bad", "good")[label]}' for text, label in
             zip(table["sentence"], table["label"], strict=True)]  # fmt: skip
    (tmp_path / "reviews.csv").write_text("\n".join(["review,verdict", *lines]) + "\n")
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, command: str, tiny_folder: Path) -> int:
    """Run a command of the page in this process, with the tiny BERT and one epoch."""
    words = shlex.split(command.replace("FOLDER", str(tiny_folder)))
    if "--backbone" not in words:
        words += ["--backbone", str(tiny_folder)]
    words += ["--epochs", "1"]
    if words[1].startswith("studies/"):
        table = functools.partial(paper_tables.method_table, "Table 2")
        return study.main("Table 2.", TABLE2, table, [*words[2:], "--no-run"])
    monkeypatch.setattr(sys, "argv", words[2:])
    assert words[:3] == ["python", "-m", "aa_ray"]
    return program.main()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page(
    command: str, folder: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch,
    clean: Callable[[], None],
) -> None:  # fmt: skip
    if "aa-highest" in command and "run" in command:  # the page's previous line
        run(monkeypatch, "python -m aa_ray run --task sst2 --method aa", tiny_folder)
        clean()
    assert run(monkeypatch, command, tiny_folder) == 0


def test_the_page_has_an_example_of_each() -> None:
    assert set(FILES) == {"reviews.py", "tweets.py", "architectures.py", "activations.py",
                          "others.py"}  # fmt: skip
    assert len(COMMANDS) == 13


def test_a_study_shows_own_tasks_and_methods(
    folder: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], clean: Callable[[], None],
) -> None:  # fmt: skip
    line = (
        "python -m aa_ray run --own reviews.py architectures.py --task reviews --method upper-half"
    )
    assert run(monkeypatch, line, tiny_folder) == 0
    clean()
    capsys.readouterr()
    both = "--own reviews.py architectures.py --seeds 42 --methods baseline upper-half"
    assert run(monkeypatch, f"python studies/table2.py {both}", tiny_folder) == 0
    table = capsys.readouterr().out
    [row] = read("results").to_pylist()
    assert re.search(r"^ +reviews +Avg\b", table, re.MULTILINE)
    assert re.search(rf"Upper half +{100 * row['test_metric']:.1f}†? ", table)
    assert "accuracy for reviews" in " ".join(table.split())
    assert row["adapter_layers"] == [1, 2] and row["data_source"].startswith("own-")


def test_rows_of_unknown_tasks_do_not_disturb_other_studies(
    folder: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, clean: Callable[[], None]
) -> None:
    run(monkeypatch, "python -m aa_ray run --own reviews.py --task reviews --method baseline",
        tiny_folder)  # fmt: skip
    clean()
    assert run(monkeypatch, "python -m aa_ray run --task sst2 --method baseline", tiny_folder) == 0


def test_another_process_runs_the_files_from_their_text(
    folder: Path, tiny_folder: Path, make_trial: Callable[..., Any], clean: Callable[[], None]
) -> None:
    plugins.load(["reviews.py", "activations.py"])
    activation = architectures.get("squareplus-all").activation
    sent = plugins.files()
    clean()
    (folder / "activations.py").unlink()
    plugins.restore(sent)
    plugins.restore(sent)  # a worker restores for every array
    worker = Worker(backbones.find(str(tiny_folder)), Source("embedded"), ("abc", False))
    data = Source("embedded").identity("reviews")
    trials = [make_trial(task="reviews", data=data, activation=name, epochs=2, learning_rate=0.01)
              for name in (activation, "relu", "rational:one", "tanh")]  # fmt: skip
    every = worker.run(trials, ["a", "b", "c", "d"])
    assert [row["status"] for [row] in every] == ["finished"] * 4
    assert len({row["curves"][-1]["train_loss"] for [row] in every}) == 4
    counts = [row["adapter_parameters"] for [row] in every]
    assert counts == [counts[1] + 3, counts[1], counts[1] + 30, counts[1]]


def test_an_own_parameter_of_an_activation_is_trained(
    folder: Path, tiny_folder: Path, make_trial: Callable[..., Any]
) -> None:
    from aa_ray.commands.trained import Taker

    plugins.load(["activations.py"])
    trial = make_trial(activation=architectures.get("squareplus-all").activation)
    taker = Taker(trial, 3)
    worker = Worker(backbones.find(str(tiny_folder)), Source("embedded"), ("abc", False))
    worker.run([trial], ["x"], taker)
    assert taker.taken is not None
    learned = [v.item() for name, v in taker.taken.weights.items() if name.endswith(".b")]
    assert len(learned) == 3 and all(value != 1 for value in learned)


def test_activation_is_known_by_the_files_text(tmp_path: Path, clean: Callable[[], None]) -> None:
    path = tmp_path / "mine.py"
    names = []
    for text in ("torch.sin", "torch.cos", "torch.sin"):
        clean()
        path.write_text(f"import torch\nfrom aa_ray import own\nown.activation('wave', {text})\n")
        plugins.load([str(path)])
        names.append(plugins._activations["wave"])
    assert names[0] == names[2] != names[1] and names[0].startswith("wave@")
    assert ACT2FN[names[0]](torch.tensor(1.0)).item() == pytest.approx(0.84147, abs=1e-5)


def test_definition_and_content_are_part_of_the_identity(
    folder: Path, clean: Callable[[], None]
) -> None:
    def identity() -> str:
        clean()
        plugins.load(["reviews.py"])
        return Source("embedded").identity("reviews")

    first, text = identity(), FILES["reviews.py"]
    assert identity() == first
    for old, new in (
        ("0.2", "0.3"),
        ('"bad", "good"', '"good", "bad"'),
        ('"accuracy", "f1"', '"f1"'),
    ):
        (folder / "reviews.py").write_text(text.replace(old, new))
        assert identity() != first
    (folder / "reviews.py").write_text(text + "# a remark\n")
    assert identity() == first
    with (folder / "reviews.csv").open("a") as file:
        file.write("more,good\n")
    assert identity() != first


def test_a_row_in_the_source_is_all_that_a_task_needs(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task in ``tasks.TASKS`` works in any folder of data and for any study."""
    import pyarrow.parquet as pq

    monkeypatch.chdir(tmp_path)
    tasks.TASKS["toy"] = tasks.Task("toy", "Toy", ("sentence",), 2, ("f1",), 2000, 300)
    (tmp_path / "glue/toy").mkdir(parents=True)
    for name, table in zip(("train", "validation"), generated.generate("sst2"), strict=True):
        pq.write_table(table, tmp_path / f"glue/toy/{name}.parquet")
    line = "python -m aa_ray run --data glue --task toy --method baseline"
    assert run(monkeypatch, line, tiny_folder) == 0
    with pytest.raises(UsageError, match="no sentences are generated for it; use --data DIR"):
        Source("embedded").load("toy")


TASK = {"train": "reviews.csv", "test": 0.2, "texts": ["review"], "label": "verdict",
        "labels": ["bad", "good"], "metrics": ["accuracy"]}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "rte"}, "task rte already exists"),
        ({"name": "My task"}, "expected a name of a-z, 0-9"),
        ({"metrics": ["bleu"]}, "unknown metric of task mine 'bleu' (allowed: accuracy"),
        ({"metrics": []}, "expected a metric, one or two texts, and two labels or more"),
        ({"labels": None}, "without labels it predicts a number"),
        ({"labels": ["good"]}, "two labels or more"),
        ({"labels": ["good", "awful"]}, "column verdict has the values bad, expected good, awful"),
        ({"test": 1.5}, "expected a share between 0 and 1"),
        ({"test": "no.csv"}, "no.csv cannot be read (No such file or directory)"),
        ({"train": "reviews.py"}, "expected a file name ending in .csv, .tsv"),
        ({"texts": ["text"]}, "column text is missing; found review, verdict"),
        ({"hub": "me/x"}, "revision is None, expected the 40 digits of a commit of me/x"),
    ],
)
def test_a_wrong_task_is_one_line(folder: Path, changes: dict[str, Any], message: str) -> None:
    given = {"name": "mine", **TASK, **changes}
    name = given.pop("name")
    (folder / "mine.py").write_text(f"from aa_ray import own\nown.task({name!r}, **{given!r})\n")
    with pytest.raises(UsageError) as raised:
        plugins.load(["mine.py"])
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"--own {folder}/mine.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = x / 0\n", "mine.py, line 2: ZeroDivisionError"),
        ("x = (\n", "mine.py, line 1: SyntaxError"),
        ("from aa_ray.core.architectures import Method\nfrom aa_ray import own\n"
         "own.architecture(Method('m', 'M', lambda n: (), 'bump'))", "unknown activation of"),
        ("from aa_ray.core.architectures import Method\nfrom aa_ray import own\n"
         "own.architecture(Method('aa', 'M', lambda n: ()))", "method aa already exists"),
        ("from aa_ray.architectures import Method\nfrom aa_ray import own\n"
         "own.architecture(Method('m', 'M', lambda n: (), configuration='lorra'))",
         "configuration lorra: AdapterHub does not accept it (ValueError: Could not identify"),
        ("from aa_ray.architectures import Method\nfrom aa_ray import own\n"
         "own.architecture(Method('m', 'M', lambda n: (), configuration='lora[q=3]'))",
         "configuration lora[q=3]: AdapterHub does not accept it (TypeError"),
        ("from aa_ray.architectures import Method\nfrom aa_ray import own\n"
         "own.architecture(Method('m', 'M', lambda n: (), configuration='prompt_tuning'))",
         "configuration prompt_tuning: prompt_tuning needs more than one task, or changes"),
        ("from aa_ray.architectures import Method\nfrom aa_ray import own\n"
         "own.architecture(Method('m', 'M', lambda n: (), switched=True, configuration='lora'))",
         "method m: switches, depths, activation and fine-tuning"),
        ("from aa_ray.core.architectures import SPEC, Method, MethodLine\nfrom aa_ray import own\n"
         "own.architecture(Method('m', 'M', lambda n: (), depths=(MethodLine('M^AA', SPEC),)))",
         "unknown depth of method m"),
        ("from aa_ray import own\nown.activation('gelu', abs)", "activation gelu already exists"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UsageError) as raised:
        plugins.load([str(tmp_path / "mine.py")])
    assert message in str(raised.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"--own no\.py: cannot be read"):
        plugins.load(["no.py"])


def test_layers_are_checked() -> None:
    plugins.architecture(Method("odd", "Odd", lambda n: tuple(range(1, n, 2))))
    plugins.architecture(Method("far", "Far", lambda n: (n,)))
    assert architectures.get("odd").layers(6) == (1, 3, 5)
    with pytest.raises(UsageError, match=r"its layers are \(6,\), expected numbers from 0 to 5"):
        architectures.get("far").layers(6)


def test_a_task_on_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    class Loaded:
        def with_format(self, name: str) -> list[pa.Table]:
            return pa.table({"text": ["a", "b"], "label": [1, 0]})

    def load_dataset(*names: Any, **more: Any) -> Loaded:
        asked.append((names, more))
        return Loaded()

    monkeypatch.setattr(hub, "silence", lambda: "")
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    plugins.load(["tweets.py"])
    revision = "0123456789abcdef0123456789abcdef01234567"
    assert not asked  # trials with rows need no network
    assert Source("embedded").identity("tweets").startswith(f"me/tweets@{revision[:12]}-")
    official = Source("embedded").load("tweets")
    assert official.train["label"].to_pylist() == [1, 0]
    assert asked == [(("me/tweets", None), {"split": s, "revision": revision})
                     for s in ("train", "test")]  # fmt: skip

    def fails(*names: Any, **more: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(datasets, "load_dataset", fails)
    glue._load.cache_clear()
    with pytest.raises(UsageError, match="could not be loaded from the hub"):
        Source("embedded").load("tweets")


@pytest.mark.slow
def test_a_study_on_ray_with_own_files(
    folder: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers are separate processes and must know the definitions of the files."""
    import subprocess

    script = Path(__file__).parents[2] / "studies" / "table4.py"
    ran = subprocess.run(
        [sys.executable, str(script), "--own", "reviews.py", "activations.py", "--backbone",
         str(tiny_folder), "--epochs", "1", "--seeds", "42", "--methods", "aa", "squareplus-all",
         "sine-switched"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    rows = read("results").to_pylist()
    assert {row["method"] for row in rows} == {"aa", "squareplus-all", "sine-switched"}
    assert all(row["status"] == "finished" and row["task"] == "reviews" for row in rows)
    assert "Sine, switched" in ran.stdout and from_options.PRESETS["demo"]["tasks"] != ("reviews",)
