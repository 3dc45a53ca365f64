"""python -m aa_ray: a single trial, run as in a study, and its adapter."""

import functools
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aa_ray import __main__ as program
from aa_ray.commands import study
from aa_ray.core.architectures import TABLE2
from aa_ray.data.glue import Source
from aa_ray.report import paper_tables
from aa_ray.store.rows import Store, read
from aa_ray.study.resolve import at_chance, selection
from aa_ray.training.worker import Worker
from aa_ray.trial import Trial
from tests import rows as made_up

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Run ``python -m aa_ray`` without Ray.

    Returns exit status, standard output and standard error.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)

    def run(name: str, *arguments: str, task: str | None = "sst2") -> tuple[int, str, str]:
        given = [] if task is None else ["--task", task, "--backbone", str(tiny_folder)]
        given += ["--epochs", "2"] if task is not None else []
        monkeypatch.setattr(sys, "argv", ["aa_ray", name, *given, *arguments])
        try:
            status = program.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_says_what_it_does_and_writes_a_row(command: Command, tmp_path: Path) -> None:
    status, said, err = command("run", "--method", "aa")
    assert (status, err) == (0, "")
    [row] = read("results").to_pylist()
    assert (row["method"], row["status"], row["epochs"]) == ("aa", "finished", 2)
    assert "AA: aa sst2 100 seed 42\n" in said
    assert "75 to train on, 25 development, 300 test examples; embedded-1" in said
    assert "adapters  in layers 0 1 2; rational:one, each behind a switch" in said
    assert f"trained   {row['trainable_parameters']:,} parameters" in said
    assert re.search(
        rf"^ +1 +{row['curves'][0]['train_loss']:.4f} +\d+\.\d\*  [012 ]+$", said, re.M
    )
    assert f"selected layers {' '.join(map(str, row['selected_layers']))}\n" in said
    assert f"test accuracy {100 * row['test_metric']:.1f}\n" in said
    assert f"row: {row['trial_id']} in {tmp_path}/results\n" in said
    assert max(map(len, said.splitlines()[:-1])) <= 80
    assert not list(tmp_path.glob("results/leases/*")) + list(tmp_path.glob("results/drivers/*"))
    assert not list(tmp_path.glob("results/checkpoints/*"))


def test_a_finished_trial_is_shown_and_not_run(command: Command, tmp_path: Path) -> None:
    _, first, _ = command("run", "--method", "aa")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    status, again, _ = command("run", "--method", "aa")
    assert status == 0
    kept = [line for line in again.splitlines() if "finished before, at" not in line]
    assert kept == first.splitlines()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_study_finds_the_trial_finished(
    command: Command, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("run", "--method", "baseline")
    table = functools.partial(paper_tables.method_table, "Table 2")
    arguments = ["--backbone", str(tiny_folder), "--tasks", "sst2", "--epochs", "2", "--seeds",
                 "42", "--methods", "baseline", "--plan"]  # fmt: skip
    assert study.main("Table 2.", TABLE2, table, arguments) == 0
    assert "done      1\n" in capsys.readouterr().out


def test_focused_layers_come_from_the_rows(command: Command) -> None:
    status, said, err = command("run", "--method", "aa-focused-uni")
    assert (status, said) == (2, "")
    assert (
        "aa-focused-uni takes its layers from aa qqp 100 seed 42, which has no row in --results; "
        "first run --method aa --task qqp --regime 100 --seed 42 with the same other options"
    ) in err and err.count("\n") == 1
    assert command("run", "--method", "aa", task="qqp")[0] == 0
    status, said, _ = command("run", "--method", "aa-focused-uni", "--seed", "92")
    assert status == 0
    rows = {row["method"]: row for row in read("results").to_pylist()}
    assert rows["aa-focused-uni"]["adapter_layers"] == list(selection(rows["aa"], 3))
    assert at_chance(rows["aa"]) == (
        "AA is at chance on its development set (qqp 100)" in " ".join(said.split())
    )
    assert rows["aa-focused-uni"]["seed"] == 92


def test_a_regime_larger_than_the_data(command: Command) -> None:
    status, said, err = command("run", "--method", "baseline", "--regime", "5000")
    assert (status, said) == (2, "")
    assert "needs 5000 annotated examples, the training data has 2000" in err


def test_a_failed_trial(command: Command) -> None:
    options = ("--method", "baseline", "--rates", "1e30")
    status, said, err = command("run", *options, task="stsb")
    assert status == 1 and "failed: baseline stsb 100 seed 42: TrainingError:" in err
    [row] = read("results").to_pylist()
    assert row["status"] == "failed"
    status, said, err = command("run", *options, "--save", "x", task="stsb")
    assert status == 1 and "run again with --retry-failed" in err and "loss" not in said
    status, said, err = command("run", *options, "--retry-failed", task="stsb")
    assert status == 1 and "loss" in said and not Path("x").exists()


def test_saved_and_exported(command: Command, tmp_path: Path) -> None:
    status, said, err = command("run", "--method", "baseline", "--save", "deep/adapter")
    assert (status, err) == (0, "")
    assert "loaded with AdapterHub, it predicts the same as the trial on 64 test examples" in said
    first = (tmp_path / "deep/adapter/pytorch_adapter.bin").read_bytes()
    status, said, _ = command("export", "--method", "baseline", "--output", "deep/adapter")
    assert status == 0 and "adapter: deep/adapter (already there)" in said
    assert "finished before, at" in said
    status, said, err = command("export", "--method", "baseline", "--output", "again")
    assert (status, err) == (0, "")
    assert "it has a row; training again for its weights\n" in said
    assert "test accuracy equals that of the row" in said
    assert (tmp_path / "again/pytorch_adapter.bin").read_bytes() == first
    # Another trial takes over the folder.
    status, said, _ = command("export", "--method", "rational-only", "--output", "again")
    assert status == 0 and (tmp_path / "again/rationals.json").exists()


def test_other_scores_than_the_rows_are_in_the_card(command: Command) -> None:
    command("run", "--method", "baseline")
    store = Store("results")
    [row] = store.read().to_pylist()
    row["test_metric"] += 0.1
    store.folder.delete(f"rows/{row['trial_id']}.parquet")  # finished rows are never replaced
    store.write([row])
    status, _, err = command("export", "--method", "baseline", "--output", "adapter")
    assert status == 0 and err.startswith("note: The trial's row, made on cpu, 1 threads, has test")
    card = Path("adapter/README.md").read_text()
    assert err.removeprefix("note: ").strip() in card
    assert store.read().to_pylist() == [row]


def test_a_trial_of_an_array_trains_again_beside_the_same(
    command: Command, tiny_folder: Path, make_trial: Callable[..., Trial]
) -> None:
    """With dropout, the score repeats only beside the same trials, in the same order."""
    for method in ("baseline", "rational-only"):
        command("run", "--method", method)
    rows = read("results").to_pylist()
    trials = [Trial.from_json(row["settings"]) for row in rows]
    from aa_ray.core import backbones

    worker = Worker(backbones.find(str(tiny_folder)), Source("embedded"), ("abc", False))
    shutil.rmtree("results/rows")
    for of_trial in worker.run(trials, [row["method"] for row in rows]):
        Store("results").write(of_trial)
    status, said, err = command("export", "--method", "rational-only", "--output", "adapter")
    assert (status, err) == (0, "")
    assert "training again for its weights, in its group of 2" in said
    assert "test accuracy equals that of the row" in said
    by_method = {row["method"]: row for row in read("results").to_pylist()}
    found = json.loads(Path("adapter/rationals.json").read_text())
    best = by_method["rational-only"]["best_epoch"]
    assert found["0"]["numerator"] == by_method["rational-only"]["numerators"][best][0]


def test_depths_of_adapter_drop(command: Command) -> None:
    command("run", "--method", "aa")
    command("run", "--method", "aa", task="qqp")
    status, said, _ = command("run", "--method", "adapter-drop")
    rows = [r for r in read("results").to_pylist() if r["method"] == "adapter-drop"]
    depths = [len(row["adapter_layers"]) for row in rows]
    assert status == 0 and f"tested with the last {' and '.join(map(str, depths))}" in said
    save = ("export", "--method", "adapter-drop", "--output", "adapter")
    status, _, err = command(*save, "--depth", "7")
    assert status == 2 and "--depth 7: this trial is tested at depth" in err
    status, said, err = command(*save, "--depth", str(depths[-1]))
    assert (status, err) == (0, "")
    notes = json.loads(Path("adapter/trial.json").read_text())
    assert notes["adapter_layers"] == rows[-1]["adapter_layers"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--method", "laura"), "unknown method 'laura' (allowed: baseline"),
        (("run", "--method", "aa", "--seed", "x"), "--seed x: expected integers from 0"),
        (("run", "--method", "aa", "--regime", "half"), "unknown regime 'half'"),
        (("run", "--method", "aa", "--set", "denominator=C"), "unknown value of denominator"),
        (("run", "--method", "aa", "--cpus-per-trial", "0"), "--cpus-per-trial 0: expected"),
        (("run",), "the following arguments are required: --method"),
        (("export", "--method", "aa"), "the following arguments are required: --output"),
        (("export", "--method", "aa", "--output", "file"), "file is a file; name a folder"),
        (("export", "--method", "aa", "--output", "."), "is not empty and holds no adapter"),
        (("export", "--method", "aa", "--output", "x", "--set", "switch_skip=no"),
         "with switch_skip=no an adapter has no skip connection"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line(
    command: Command, arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    status, said, err = command(*arguments)
    assert (status, said) == (2, "")
    assert message in err and err.count("\n") == 1
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", [None, "run", "export"])
def test_help(name: str | None, command: Command) -> None:
    status, said, _ = command(*((name, "--help") if name else ("--help",)), task=None)
    assert status == 0 and "usage: python -m aa_ray" in said
    assert max(map(len, said.splitlines())) <= 80


def test_compact_puts_rows_into_few_files(command: Command, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "results"))
    for trial in "ab":
        store.write([made_up.row(trial)])
    status, printed, _ = command("compact", task=None)
    assert status == 0 and printed == f"2 trials merged into {tmp_path}/results/compacted\n"
    assert len(store.read()) == 2
