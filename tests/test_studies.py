"""All other studies through their real command lines, on the rows of one small results folder."""

import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aa_ray.store.rows import read

STUDIES = Path(__file__).parent.parent / "studies"


def run(name: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(STUDIES / f"{name}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


@pytest.fixture(scope="module")
def arguments(tiny_folder: Path) -> list[str]:
    return ["--backbone", str(tiny_folder), "--tasks", "qqp", "--seeds", "42", "--epochs", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, arguments: list[str]) -> Path:
    """Run Table 4 and return the folder."""
    folder = tmp_path_factory.mktemp("studies")
    ran = run("table4", *arguments, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    assert "Switch-only" in ran.stdout and "Rational-only" in ran.stdout
    return folder


def trials(folder: Path) -> set[str]:
    return set(read(str(folder / "results"))["trial_id"].to_pylist())


def test_studies_share_trials(folder: Path, arguments: list[str]) -> None:
    before = trials(folder)
    plan = run("table3", *arguments, "--plan", cwd=folder)
    assert "done      2\n" in plan.stdout  # aa and the last N layers come from Table 4
    ran = run("table3", *arguments, cwd=folder)
    assert ran.returncode == 0 and ran.stdout.startswith("Table 3.")
    assert before < trials(folder) and len(trials(folder) - before) <= 2
    plan = run("appendix_a", *arguments, "--plan", cwd=folder)
    assert "done      " in plan.stdout and "done      0" not in plan.stdout


def test_rows_can_be_looked_at_without_their_data(folder: Path, arguments: list[str]) -> None:
    with_data = run("table4", *arguments, "--no-run", cwd=folder)
    without = run("table4", *arguments, "--data", "rows", "--no-run", cwd=folder)
    assert without.returncode == 0, without.stderr
    numbers = [out.stdout.split("\n\n", 1)[1] for out in (with_data, without)]
    assert numbers[0] == numbers[1] and "Switch-only" in numbers[0]
    more = [*arguments, "--data", "rows", "--regimes", "300"]
    refused = run("table4", *more, cwd=folder)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "--data rows: rows hold no examples, so nothing can be trained" in refused.stderr


@pytest.mark.parametrize(
    ("study", "figure"),
    [
        ("plot_rationals", "rationals-100"),
        ("plot_layers", "layers"),
        ("plot_tables", "scores"),
        ("plot_status", "status"),
        ("plot_effects", "effects-claims"),
    ],
)
def test_figures_are_drawn_from_the_rows(
    folder: Path, arguments: list[str], study: str, figure: str
) -> None:
    drawn = run(study, *arguments, "--output", "drawn", cwd=folder)
    assert drawn.returncode == 0, drawn.stderr
    assert f"drawn/{figure}.pdf" in drawn.stdout
    assert (folder / "drawn" / f"{figure}.png").stat().st_size > 5000


def test_figures_without_rows(tmp_path: Path, arguments: list[str]) -> None:
    drawn = run("plot_layers", *arguments, cwd=tmp_path)
    assert drawn.returncode == 2
    assert "no rows of this study; run it first" in drawn.stderr and drawn.stderr.count("\n") == 1


def test_the_report_is_written_from_the_rows(folder: Path, arguments: list[str]) -> None:
    written = run("report", *arguments, "--output", "pages/r.html", cwd=folder)
    assert written.returncode == 0, written.stderr
    assert written.stdout.startswith("pages/r.html (0.")
    page = (folder / "pages" / "r.html").read_text("utf-8")
    assert f"studies/table4.py</span> <span>--backbone</span> <span>{arguments[1]}" in page
    assert "--output" not in page and "--margin" not in page and "±2 points" in page
    wider = run("report", *arguments, "--margin", "7", "--output", "r.html", cwd=folder)
    assert wider.returncode == 0, wider.stderr
    page = (folder / "r.html").read_text("utf-8")
    assert "±7 points" in page and "±2 points" not in page and "<span>--margin</span>" in page
    failed = run("report", *arguments, "--output", "pages", cwd=folder)
    assert failed.returncode == 2 and failed.stderr.count("\n") == 1
    assert "--output pages: cannot be written (Is a directory)" in failed.stderr


def test_the_report_is_compared_with_other_rows(folder: Path, arguments: list[str]) -> None:
    shutil.copytree(folder / "results", folder / "other results")
    compared = run("report", *arguments, "--output", "r.html", "--against", "other results",
                   cwd=folder)  # fmt: skip
    assert compared.returncode == 0, compared.stderr
    page = (folder / "r.html").read_text("utf-8")
    assert "<h2>Compared with other results</h2>" in page and "same runs" in page
    assert "<span>--against</span>" not in page
    options = "--results 'other results' --margin 3"
    compared = run("report", *arguments, "--output", "r.html", "--against", options, cwd=folder)
    assert compared.returncode == 0, compared.stderr
    for other, message in (("empty", "no rows of this study"), ("--seeds x", "--seeds")):
        refused = run("report", *arguments, "--against", other, cwd=folder)
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1
        assert f"--against {other}: " in refused.stderr and message in refused.stderr


def test_claims_are_judged_from_the_rows(folder: Path, arguments: list[str]) -> None:
    judged = run("claims", *arguments, "--format", "markdown", cwd=folder)
    assert judged.returncode == 0, judged.stderr
    for number in range(1, 14):
        assert f"| C{number} " in judged.stdout
    assert "| C8 AA beats Switch-only |" in judged.stdout
    assert "±2 points" in judged.stdout
    for name in ("claims", "cells"):
        wider = run(name, *arguments, "--margin", "3.5", cwd=folder)
        assert "3.5 points" in " ".join(wider.stdout.split()), wider.stderr


def test_comparisons_are_shown_cell_by_cell(folder: Path, arguments: list[str]) -> None:
    shown = run("cells", *arguments, "--format", "markdown", cwd=folder)
    assert shown.returncode == 0, shown.stderr
    assert "**C8 AA beats Switch-only" in shown.stdout and "| QQP 100 |" in shown.stdout


def test_policies_are_compared(folder: Path, arguments: list[str]) -> None:
    # A backbone without tuned rates uses the released ones, so both policies are the same.
    alone = run("contrasts", *arguments, "--last-n", "1", "--format", "markdown", cwd=folder)
    assert alone.returncode == 0, alone.stderr
    assert "| **released** |" in alone.stdout and "minus backbone" not in alone.stdout
    assert "| AA minus Switch-only |" in alone.stdout
    refused = run("policies", *arguments, cwd=folder)
    assert refused.returncode == 2 and "compares other rates with the released" in refused.stderr
    ran = run("table4", *arguments, "--rates", "3e-3", cwd=folder)
    assert ran.returncode == 0, ran.stderr
    both = run("policies", *arguments, "--rates", "3e-3", "--format", "markdown", cwd=folder)
    assert both.returncode == 0, both.stderr
    assert "|  | released | 0.003 | difference |" in both.stdout
    assert "| C8 AA beats Switch-only |" in both.stdout
    assert "±2 points" in both.stdout
    for name in ("policies", "contrasts"):
        wider = run(name, *arguments, "--rates", "3e-3", "--margin", "3.5", cwd=folder)
        assert "±3.5 points" in " ".join(wider.stdout.split()), wider.stderr
    drawn = run("plot_effects", *arguments, "--rates", "3e-3", "--margin", "3.5", cwd=folder)
    assert drawn.returncode == 0, drawn.stderr
    assert "figures/effects-contrasts.pdf" in drawn.stdout


def test_efficiency_is_measured_on_the_architectures_found(
    folder: Path, arguments: list[str]
) -> None:
    measured = run("efficiency", *arguments, "--format", "csv", cwd=folder)
    assert measured.returncode == 0, measured.stderr
    rows = {(r["row"], r["column"]): float(r["mean"]) for r in csv.DictReader(
        io.StringIO(measured.stdout))}  # fmt: skip
    selected = rows["AA-focused^uni", "layers"]
    assert rows["Baseline", "layers"] == 3 >= selected
    per_layer = rows["Baseline", "parameters"] / 3
    # Each layer adds ten coefficients to the ReLU adapter's parameters.
    assert rows["AA-focused^uni", "parameters"] == selected * (per_layer + 10)
    assert rows["Baseline", "on disk, kB"] > 4 * rows["Baseline", "parameters"] / 1000
    assert all(rows["Baseline", f"{what}, ms"] > 0 for what in ("train", "inference"))


def test_efficiency_needs_the_selections(tmp_path: Path, arguments: list[str]) -> None:
    measured = run("efficiency", *arguments, cwd=tmp_path)
    assert measured.returncode == 2 and "run it first" in measured.stderr


def test_fidelity_turns_every_difference(tiny_folder: Path, tmp_path: Path) -> None:
    ran = run("fidelity", "--backbone", str(tiny_folder), "--tasks", "qqp", "--seeds", "42",
              "--epochs", "1", cwd=tmp_path)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    for key in ("D1", "D2", "D3", "D4", "D5", "D6"):
        assert f"\n{key} " in ran.stdout
    unaffected = "No method here is affected by D9." in " ".join(ran.stdout.split())
    assert unaffected != ("\nD9 " in ran.stdout)  # it acts if a selection is empty
    settings = read(str(tmp_path / "results"))["settings"].to_pylist()
    assert any('"denominator": "B"' in text for text in settings)


def test_controls_with_tuned_rates(tiny_folder: Path, tmp_path: Path) -> None:
    """Each level waits for the one before it.

    The levels are AA's ladder, AA at its best rates, and the ladder of the method that uses AA's
    layers.
    """
    arguments = ["--backbone", str(tiny_folder), "--tasks", "sst2", "--seeds", "42", "--epochs",
                 "1", "--methods", "baseline-last-n", "random-n", "--last-n", "2", "--rates",
                 "tuned", "--tuning-budget", "2"]  # fmt: skip
    plan = run("controls", *arguments, "--plan", cwd=tmp_path)
    assert "trials    21\n" in plan.stdout  # for each of three methods: two settings, three seeds
    ran = run("controls", *arguments, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("Controls.") and "2 settings each" in ran.stdout
    rows = read(str(tmp_path / "results")).to_pylist()
    assert {row["status"] for row in rows} == {"finished"}
    last = [row for row in rows if row["method"] == "baseline-last-n"]
    assert {tuple(row["adapter_layers"]) for row in last} == {(1, 2)}
    drawn = run("plot_tuning", *arguments[:-6], *arguments[-4:-2], "--tuning-budget", "2",
                cwd=tmp_path)  # fmt: skip
    assert drawn.returncode == 0, drawn.stderr
    assert "figures/tuning-rates.pdf" in drawn.stdout
    again = run("controls", *arguments, "--plan", cwd=tmp_path)
    assert "runnable  0\nblocked   0" in again.stdout


@pytest.mark.slow
def test_step_size_runs_its_ladder(tiny_folder: Path, tmp_path: Path) -> None:
    ran = run("step_size", "--backbone", str(tiny_folder), "--tasks", "qqp", "--seeds", "42",
              "--epochs", "1", cwd=tmp_path)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "Does AA-focused win by architecture or by step size?" in ran.stdout
    rates = {(row["method"], row["settings"]) for row in read(
        str(tmp_path / "results")).to_pylist()}  # fmt: skip
    assert len(rates) >= 50
    drawn = run("plot_step_size", "--backbone", str(tiny_folder), "--tasks", "qqp", "--seeds",
                "42", "--epochs", "1", cwd=tmp_path)  # fmt: skip
    assert drawn.returncode == 0 and "figures/learning-rates.pdf" in drawn.stdout
