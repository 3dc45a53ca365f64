"""aa-ray: all studies and commands under one name, with help and shell completion."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aa_ray.commands import cli, options
from aa_ray.core import architectures

TOP = Path(__file__).parents[2]
STUDIES = sorted(path.stem for path in (TOP / "studies").glob("*.py"))


def aa_ray(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the installed command's entry point and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/aa-ray", *arguments])
    try:
        return cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)


def test_every_study_is_a_command() -> None:
    assert list(cli.studies()) == [name.replace("_", "-") for name in STUDIES]


def test_the_help_lists_every_study_once_and_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert aa_ray("--help", monkeypatch=monkeypatch) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in [*cli.studies(), "run", "export", "compact", "watch", "completion"]:
        assert [line.split()[0] for line in lines if line.split()[:1] == [name]] == [name]
    assert max(map(len, lines)) <= 80
    assert cli.OTHERS + ":" not in lines  # each study has a group


@pytest.mark.parametrize("name", [*STUDIES, "run", "export", "compact", "watch"])
def test_the_help_of_a_command_fits_and_names_itself(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    command = name.replace("_", "-")
    assert aa_ray(name, "--help", monkeypatch=monkeypatch) == 0  # also with an underscore
    text = capsys.readouterr().out
    examples = [line for line in text.splitlines() if line.startswith("    aa-ray ")]
    assert text.startswith(f"usage: aa-ray {command} ")
    assert any(f"aa-ray {command}" in line for line in examples)
    assert ".py" not in text.replace("docs/own.md", "") and "python" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_short_help_leaves_options_to_help_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert aa_ray("table2", "--help", monkeypatch=monkeypatch) == 0
    short = capsys.readouterr().out
    assert aa_ray("table2", "--help-all", monkeypatch=monkeypatch) == 0
    full = capsys.readouterr().out
    parser = options.study_parser("", architectures.TABLE2)
    strings = {action.option_strings[-1] for action in parser._actions if action.option_strings}
    left_out = {name for name in strings if f"\n  {name} " not in short}
    assert {name for name in strings if name not in full} == set()
    assert strings - left_out >= {"--tasks", "--results", "--plan", "--help-all"}
    assert len(strings - left_out) <= 12
    assert f"--help-all shows {len(left_out) - 1} more options" in short  # all but -h, --help


def test_a_study_runs_with_its_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert aa_ray("table1", "--data", "embedded", "--format", "csv", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out.startswith("section,row,")
    assert aa_ray("table2", "--bananas", monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().err.startswith("aa-ray table2: unrecognized arguments: --bananas")
    assert sys.argv == ["/somewhere/bin/aa-ray", "table2", "--bananas"]


def test_nothing_and_nonsense_end_with_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert aa_ray(monkeypatch=monkeypatch) == 2
    assert "table2" in capsys.readouterr().err
    assert aa_ray("tabel2", monkeypatch=monkeypatch) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "tabel2" in error and "table2" in error


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("aa-ray plot-l", {"plot-layers"}),
        ("aa-ray comp", {"compact", "completion"}),
        ("aa-ray wa", {"watch"}),
        ("aa-ray table2 --preset ", {"demo", "low-data", "full", "paper"}),
        ("aa-ray plot_layers --outp", {"--output"}),
        ("aa-ray table2 --tasks cola ss", {"sst2"}),
        ("aa-ray run --method aa-focused-s", {"aa-focused-spec", "aa-focused-sim"}),
        ("aa-ray completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_completion(line: str, expected: set[str], tmp_path: Path) -> None:
    """The shell passes the line in the environment and reads the answers from a file."""
    environment = os.environ | {
        "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n", "COMP_TYPE": "9", "PYTHONPATH": str(TOP),
        "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "answers"),
    }  # fmt: skip
    code = "import sys; sys.argv = ['aa-ray']; from aa_ray.commands import cli; cli.main()"
    subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=60)
    answers = {word.strip() for word in (tmp_path / "answers").read_text().splitlines()}
    assert {word for word in answers if not word.startswith("-") or "--" in line} >= expected
    if "--" not in line:
        assert answers - {"--help", "--version", "--debug", "--help-all"} == expected


def test_the_completion_code_names_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert aa_ray("completion", "bash", monkeypatch=monkeypatch) == 0
    assert "aa-ray" in capsys.readouterr().out
