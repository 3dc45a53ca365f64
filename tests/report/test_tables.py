"""aa_ray.report.tables: the four formats."""

import csv
import io
import shutil
import subprocess
from pathlib import Path

import pytest

from aa_ray.report.tables import Entry, Section, Table

PDFLATEX = shutil.which("pdflatex")

TABLE = Table(
    "Caption 50 % of a_b.",
    ["CoLA", "Avg"],
    [
        Section("Low-data-100", [
            ("Baseline", [Entry("1.0±0.5", mean=1.04, deviation=0.5, seeds=2), Entry("–")]),
            ("AA-focused^spec", [Entry("12.0", True, 12.0, None, 1), Entry("3.0", mean=3.0)]),
        ]),
        Section("Full data", [("|AA-focused^spec|", [Entry("2"), Entry("–")])]),
    ],
)  # fmt: skip


def test_text_is_aligned() -> None:
    assert TABLE.render("text") == (
        "Caption 50 % of a_b.\n"
        "\n"
        "                       CoLA  Avg\n"
        "Low-data-100\n"
        "  Baseline          1.0±0.5    –\n"
        "  AA-focused^spec      12.0* 3.0\n"
        "Full data\n"
        "  |AA-focused^spec|       2    –\n"
    )


def test_markdown() -> None:
    assert TABLE.render("markdown").splitlines()[2:] == [
        "|  | CoLA | Avg |",
        "|---|---:|---:|",
        "| **Low-data-100** |  |  |",
        "| Baseline | 1.0±0.5 | – |",
        "| AA-focused^spec | **12.0** | 3.0 |",
        "| **Full data** |  |  |",
        r"| \|AA-focused^spec\| | 2 | – |",
    ]


def test_latex() -> None:
    text = TABLE.render("latex")
    spec = r"AA-focused\textsuperscript{spec}"
    assert spec + r" & \bfseries 12.0 & \bfseries  & 3.0 &  \\" in text
    assert f"$|${spec}$|$" + r" & 2 &  & \multicolumn{2}{c}{–} \\" in text
    assert r"Baseline & 1.0 & $\pm$0.5 & \multicolumn{2}{c}{–} \\" in text
    assert r"\caption{Caption 50 \% of a\_b.}" in text
    assert text.count(r"\begin") == text.count(r"\end") == 2


def test_latex_raises_marks_wherever_they_stand() -> None:
    lines = [("C4 AA^uni beats Baseline^N by 5 %", [Entry("x^2 ")])]
    text = Table("c", ["A"], [Section("s", lines)]).render("latex")
    assert (
        r"C4 AA\textsuperscript{uni} beats Baseline\textsuperscript{N} by 5 \% & "
        r"x\textsuperscript{2}  \\" in text
    )


def has(package: str) -> bool:
    finder = shutil.which("kpsewhich")
    if finder is None:
        return False
    found = subprocess.run([finder, package], capture_output=True, text=True, timeout=60)
    return found.returncode == 0


@pytest.mark.skipif(
    not (PDFLATEX and has("siunitx.sty")),
    reason="no pdflatex with siunitx (Debian: texlive-latex-recommended, texlive-science)",
)
def test_latex_fits_a_two_column_article(tmp_path: Path) -> None:
    """Tables span one column, both, or both scaled down; nothing may protrude."""
    caption = "A\n100 % & more_less $5 #1 ~ {x} \\\\ <y> “q” – é † ‡."
    line = ("|AA^N-1|", [Entry("–"), Entry("-1.0±0.5†", True)])
    odd = Table(caption, ["A_1", "B|C"], [Section("Low & data", [line])])
    entries = [Entry(text) for text in ("62.3±4.5 (18/20)", "-1.0", "+0.1 to +0.9", "<0.001")]
    wide = [
        Table(f"Wide {n}.", [f"column {i}" for i in range(4 * n)],
              [Section("s", [("a method", entries * n)])])
        for n in (1, 2, 6)
    ]  # fmt: skip
    tables = [table.render("latex") for table in (TABLE, odd, *wide)]
    environments = [text.splitlines()[1] for text in tables]
    assert [r"\begin{table*}[t]" in line for line in environments] == [
        False, False, True, True, True,
    ]  # fmt: skip
    assert [r"\resizebox" in text for text in tables] == [False] * 3 + [True] * 2
    body = "\n".join(tables)
    (tmp_path / "tables.tex").write_text(
        "\\documentclass[twocolumn]{article}\n\\usepackage{booktabs,graphicx,siunitx}\n"
        f"\\begin{{document}}\n{body}\n\\end{{document}}\n",
        "utf-8",
    )
    command = [str(PDFLATEX), "-halt-on-error", "-interaction=nonstopmode", "tables.tex"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert "Missing character" not in ran.stdout and "Overfull" not in ran.stdout
    assert (tmp_path / "tables.pdf").read_bytes().startswith(b"%PDF")


def test_latex_prints_a_tables_number_once() -> None:
    """LaTeX adds its own "Table 2:"."""
    table = Table("Table 2. Scores.\nNote: none.", ["A"], [])
    text = table.render("latex")
    assert r"\caption{Scores. Note: none.}" in text and r"\label{tab:table-2}" in text


def test_csv_has_the_numbers_at_full_precision() -> None:
    rows = list(csv.DictReader(io.StringIO(TABLE.render("csv"))))
    assert len(rows) == 6
    assert rows[0] == {"section": "Low-data-100", "row": "Baseline", "column": "CoLA",
                       "mean": "1.04", "deviation": "0.5", "seeds": "2", "best": "0",
                       "state": ""}  # fmt: skip
    assert rows[1]["mean"] == "" and rows[2]["best"] == "1"


@pytest.mark.parametrize("style", ["text", "markdown", "latex", "csv"])
def test_a_table_without_lines_renders(style: str) -> None:
    assert Table("c", ["A"], []).render(style).endswith("\n")


def test_columns_of_dashes_are_left_out_unless_asked_for() -> None:
    lines = [("AA", [Entry("–"), Entry("-0.50 to -0.25"), Entry("")])]
    table = Table("", ["CoLA", "Avg", "p"], [Section("", lines)])
    assert table.render("markdown").splitlines()[2:] == [
        "|  | Avg |",
        "|---|---:|",
        "| **** |  |",
        "| AA | −0.50 to −0.25 |",
    ]
    assert "CoLA" in table.render("text", all_columns=True)
    assert "CoLA" in table.render("csv")
    empty = Table("", ["CoLA"], [Section("", [("AA", [Entry("–")])])])
    assert "CoLA" in empty.render("text")


@pytest.mark.parametrize("text", ["STS-B", "Low-data-100", "1e-3", "^N-1", "2026-11"])
def test_hyphens_stay_hyphens(text: str) -> None:
    table = Table("", ["c"], [Section("", [("AA", [Entry(text)])])])
    assert text in table.render("text")
