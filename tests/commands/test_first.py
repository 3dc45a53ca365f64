"""aa_ray.commands.first and printing: suggested commands if rows are missing, and folded tables."""

import argparse
import os
import pty
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from aa_ray.commands import cli, first, options, printing
from aa_ray.core import architectures
from aa_ray.errors import UsageError
from aa_ray.report.tables import Entry, Section, Table

TOP = Path(__file__).parents[2]
TRAINING = ["table2", "table3", "table4", "appendix_a", "controls", "step_size", "fidelity"]
TINY_GRID = ["--tasks", "sst2", "--seeds", "42"]


def run(monkeypatch: pytest.MonkeyPatch, script: str, *arguments: str) -> int:
    """Run ``python studies/SCRIPT.py`` in this process."""
    path = str(TOP / "studies" / f"{script}.py")
    monkeypatch.setattr(sys, "argv", [path, *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(path, run_name="__main__")
    return int(ended.value.code or 0)


@pytest.mark.parametrize("study", TRAINING)
def test_a_study_without_rows_says_how_to_run_it(
    study: str,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["--backbone", str(tiny_folder), *TINY_GRID]
    assert run(monkeypatch, study, *asked, "--no-run", "--all-columns") == 0
    [said, _, command] = capsys.readouterr().out.splitlines()
    assert said == "No rows of this study in results yet. To run it:"
    words = shlex.split(command)
    assert words[:2] == ["python", str(TOP / "studies" / f"{study}.py")]
    parser = options.study_parser("", architectures.TABLE2)
    assert vars(parser.parse_args(words[2:])) == vars(parser.parse_args(asked))


@pytest.mark.parametrize("style", ["markdown", "latex", "csv"])
def test_a_table_for_another_program_stays_a_table(
    style: str,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["--backbone", str(tiny_folder), *TINY_GRID, "--no-run", "--format", style]
    assert run(monkeypatch, "table2", *asked) == 0
    said = capsys.readouterr()
    assert "Baseline" in said.out and "To run it" not in said.out
    assert "To run it:\n\n    python " in said.err and "--format" not in said.err


def commands(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> list[str]:
    """Return the commands that ``aa-ray NAME`` suggests."""
    monkeypatch.setattr(sys, "argv", [f"aa-ray {name}", *arguments])
    methods = {"claims": architectures.ALL_TABLES}.get(name, architectures.TABLE2)
    return first.commands(arguments, methods)


def test_what_reads_rows_names_the_studies_that_make_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert commands(monkeypatch, "claims", "--margin", "1", "--tasks", "cola") == [
        "aa-ray table2 --tasks cola", "aa-ray table3 --tasks cola", "aa-ray table4 --tasks cola",
    ]  # fmt: skip
    assert commands(monkeypatch, "plot-layers", "--output", "a b", "--results", "a b") == [
        "aa-ray table2 --results 'a b'"
    ]
    some = ("--methods", "aa", "switch-only", "mine", "--data", "rows")
    assert commands(monkeypatch, "claims", *some) == [
        "aa-ray table2 --data DIR --methods aa mine",
        "aa-ray table4 --data DIR --methods switch-only",
    ]  # fmt: skip
    assert commands(monkeypatch, "plot-step-size") == ["aa-ray step-size"]
    assert commands(monkeypatch, "plot-tables", "--methods", "lora") == [
        "aa-ray table2 --methods lora"
    ]


def test_every_study_is_known_or_wants_the_rows_of_table_2() -> None:
    names = {name.replace("-", "_") for name in cli.studies()}
    assert set(first._MAKING) <= names and set(first._TRAINING) <= names
    assert {s for studies in first._MAKING.values() for s in studies} <= set(first._TRAINING)
    assert sorted(first._TRAINING) == sorted(TRAINING)


def test_policies_without_rows_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["studies/contrasts.py"])
    parsed = argparse.Namespace(
        arguments=["--rates", "tuned", "--last-n", "3"], methods=None, results="r"
    )
    error = first.no_rows(parsed, architectures.CONTROLS, ["released"])
    assert isinstance(error, UsageError)
    assert str(error) == (
        "--results r: no rows of this study; run it first: "
        "python studies/controls.py --last-n 3 --rates released"
    )


WIDE = Table(
    "A caption.",
    ["CoLA", "SST-2", "STS-B", "Avg"],
    [Section("Low-data-100", [("Baseline", [Entry("10.0±0.5", best=True)] * 4)])],
)


@pytest.mark.parametrize("width", [1, 20, 29, 30, 39, 40, 49, 50, 80, None])
def test_a_wide_table_is_folded_by_task(width: int | None) -> None:
    text = WIDE.render("text", width=width)
    lines = text.splitlines()
    assert text.count("10.0±0.5*") == 4
    names = [word for line in lines for word in line.split() if word in WIDE.columns]
    assert names == WIDE.columns  # once each, in order
    # Labels take 10 characters, and so does each column.
    per_block = 4 if width is None else max(1, min(4, (width - 10) // 10))
    assert lines.count("Low-data-100") == -(-4 // per_block)
    if width is not None and width >= 20:
        assert max(map(len, lines)) <= width
    if per_block == 4:
        assert text == WIDE.render("text")


def test_other_formats_are_never_folded() -> None:
    for style in ("markdown", "latex", "csv"):
        assert WIDE.render(style, width=20) == WIDE.render(style)


TABLE1 = [sys.executable, str(TOP / "studies" / "table1.py")]


def blocks(text: str) -> int:
    return text.replace("\r", "").splitlines().count("GLUE")


def test_a_redirected_table_is_folded_only_if_columns_says_so() -> None:
    unset = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    for environment, folded in ((unset, 1), (unset | {"COLUMNS": "50"}, 2)):
        ran = subprocess.run(
            TABLE1, capture_output=True, text=True, env=environment, timeout=120, check=True
        )
        assert blocks(ran.stdout) == folded
    assert max(map(len, ran.stdout.splitlines())) <= 50


def test_a_terminal_folds_a_table_that_is_too_wide() -> None:
    unset = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    driver, terminal = pty.openpty()
    subprocess.run(["stty", "cols", "50"], stdin=terminal, check=True, timeout=20)
    with subprocess.Popen(TABLE1, stdout=terminal, stdin=terminal, env=unset) as process:
        os.close(terminal)
        text = b""
        try:
            while part := os.read(driver, 4096):
                text += part
        except OSError:  # the terminal ends with the process
            pass
        assert process.wait(timeout=120) == 0
    os.close(driver)
    assert blocks(text.decode()) == 2


@pytest.mark.parametrize("value", ["", "0", "-3", "wide", "५०"])
def test_columns_that_are_no_width_do_not_count(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", value)
    assert printing.text_width() is None
