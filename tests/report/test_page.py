"""aa_ray.report.page: its contents, their escaping, and that the page is self-contained."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser

import pytest
from scipy import stats

from aa_ray.core import architectures
from aa_ray.core.architectures import ALL_TABLES, TABLE2, TABLE3, TABLE4, Method
from aa_ray.data.glue import ROWS, Source
from aa_ray.errors import UsageError
from aa_ray.report import claims, markup, page_commands, paper_tables, summary
from aa_ray.report import page as report
from aa_ray.report.beside import Beside, varied, with_rows
from aa_ray.report.results import Line, Results
from aa_ray.report.verdicts import NOT_RUN
from aa_ray.study.grid import Cell
from aa_ray.study.resolve import Resolver
from tests.report.test_contrasts import study as contrast_study
from tests.report.test_paper_tables import made_up
from tests.report.test_step_size import results as ladder_results
from tests.report.test_step_size import step_size_explains
from tests.study.test_grid import make_study

LAYERS = 5
START = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'
OPTIONS = ["--tasks", "sst2", "cola", "--results", "my rows"]

Skip = Callable[[Cell], bool]


def make_results(
    skip: Skip = lambda cell: False, fail: Skip = lambda cell: False, own: tuple[str, ...] = ()
) -> Results:
    """Return two tasks and two seeds of every method, with everything that the page shows."""
    study = make_study(methods=ALL_TABLES + own)
    rows = made_up(study, lambda cell: skip(cell) or fail(cell))
    for i, row in enumerate(rows):
        curves = [{"epoch": n, "train_loss": 1 / n, "dev_metric": 0.5 + 0.1 * n} for n in (1, 2, 3)]
        row |= {
            "best_epoch": 2, "epochs": 3, "num_layers": LAYERS, "error": None, "curves": curves,
            "numerators": [[[1.0, n, 0, 0, 0, 0] for n in range(LAYERS)]] * 4,
            "denominators": [[[0.0] * 4] * LAYERS] * 4, "input_histograms": None,
            "adapter_parameters": 1000 * len(row["adapter_layers"]), "backbone": "toy",
            "dev_metric": 0.7, "train_seconds": 8.0, "test_seconds": 2.0, "array": None,
            "host": f"node-{HOSTILE}", "hosts": None, "resumed_after": [2] if i == 0 else [],
            "device": "cpu, 1 threads", "versions": json.dumps({"torch": "2.13.0"}),
            "started_at": START, "finished_at": START + timedelta(minutes=i),
        }  # fmt: skip
    failed = []
    for cell, trial in Resolver(study, rows).trials.items():
        if fail(cell):
            row = dict.fromkeys(("selected_layers", "train_seconds", "test_seconds", "array"))
            failed.append(row | trial.columns | {"status": "failed", "error": HOSTILE})
    rows += failed
    return Results(study, rows)


class Page(HTMLParser):
    """Parses a page into elements with attributes, rows of table cells, and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.behind: list[list[list[str]]] = []  # the tables behind figures
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self._details: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag in ("small", "script", "style", "td", "th"):
            self._open.append(tag)
        elif tag == "details":
            self._details.append(dict(attributes).get("class") or "")
        elif tag == "table":
            self._current.append([])
        elif tag == "tr":
            self._current[-1].append([])
        if tag in ("td", "th"):
            self._current[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()
        if tag == "details":
            self._details.pop()

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            self.scripts.append(data)
        elif "style" not in self._open:
            self.texts.append(data)
            if {"td", "th"} & set(self._open) and "small" not in self._open:
                self._current[-1][-1][-1] += data.strip("\n")

    @property
    def _current(self) -> list[list[list[str]]]:
        return self.behind if "behind" in self._details else self.tables

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def results() -> Results:
    return make_results()


@pytest.fixture(scope="module")
def html(results: Results) -> str:
    return report.page(results, OPTIONS)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def shown(text: str) -> str:
    """Return a label as its letters appear on the page."""
    return text.replace("^", "")


@pytest.mark.parametrize(("number", "methods"), [(2, TABLE2), (3, TABLE3), (4, TABLE4)])
def test_the_numbers_are_those_of_the_text_tables(
    results: Results, page: Page, number: int, methods: tuple[str, ...]
) -> None:
    table = paper_tables.method_table(f"Table {number}", results.only(methods))
    [section] = table.sections
    kept = [i for i, name in enumerate(table.columns) if name in ("SST-2", "CoLA", "Avg")]
    expected = [
        [shown(label), *(line[i].text for i in kept)] for label, line in section.lines
    ]  # fmt: skip
    found = page.tables[number - 1]  # the claims come first
    assert found[0] == ["Method", "SST-2", "CoLA", "Avg"]
    assert found[1] == ["Low-data-100"] and found[2:] == expected
    assert "±" in expected[0][1]


def test_intervals_are_those_of_the_t_distribution(results: Results, html: str) -> None:
    rows = [results.row(Line("", "baseline"), "cola", "100", seed) for seed in (42, 92)]
    values = [100 * row["test_metric"] for row in rows if row]
    low, high = stats.t.interval(0.95, 1, sum(values) / 2, stats.sem(values))
    assert f"<small>{low:.1f} to {high:.1f}</small>" in html


def test_claims_are_those_of_the_text_table(results: Results, page: Page) -> None:
    [section] = claims.table(results).sections
    found = [[" ".join(cell.split()) for cell in row] for row in page.tables[0][1:]]
    measured = [line for line in section.lines if line[1][-2].text != NOT_RUN]
    for (label, entries), row in zip(measured, found, strict=True):
        effect, bounds, _, pairs, *_, verdict, seeds = (markup.minus(e.text) for e in entries)
        assert row[:4] + row[5:] == [shown(label), verdict, effect, bounds, pairs, seeds]
    letters = "".join(page.text.split())
    for label, _ in section.lines:
        assert "".join(shown(label).split()) in letters, label
    assert len(measured) < len(section.lines) and "Not run here: C3" in page.text


def test_nothing_is_loaded_from_elsewhere(html: str, page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            value = attributes.get(name)
            allowed = r"https://aclanthology\.org/.*|#.*" if tag == "a" else r"data:.*|#.*"
            assert value is None or re.fullmatch(allowed, value, re.S), (tag, name, value)
    sheets = "".join(re.findall(r"<style>(.*?)</style>", html, re.S))
    assert "@import" not in html and "url(" not in sheets
    assert set(re.findall(r"url\((.)", html)) <= {"#"}


def test_the_policy_allows_the_pages_own_script_alone(html: str) -> None:
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src 'none'")
    [script] = re.findall(r"<script>(.*?)</script>", html, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and policy.count("script-src") == 1


def test_ids_are_unique_and_links_have_targets(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] or "" for _, a in page.elements if (a.get("href") or "").startswith("#")]
    assert links and {link[1:] for link in links} <= set(ids)


def test_hostile_text_stays_text() -> None:
    def fail(cell: Cell) -> bool:
        return cell.method == "baseline" and cell.seed == 92

    found = Page(report.page(make_results(fail=fail), [*OPTIONS, "--data", HOSTILE]))
    tags = [tag for tag, _ in found.elements]
    assert tags.count("script") == 2 and "img" not in tags
    assert not any(name.startswith("on") for _, a in found.elements for name in a)
    assert f"baseline sst2 100 seed 92 {HOSTILE}" in found.text  # the error
    assert f"node-{HOSTILE}" in found.text  # the host
    assert "2 training runs ended with an error" in found.text


def test_curves_are_the_rows(results: Results, page: Page) -> None:
    curves = json.loads(page.scripts[0])
    assert set(curves) == {"sst2-100", "cola-100", "qqp-100"}
    titles = [architecture["title"] for architecture in curves["cola-100"]]
    assert titles[:3] == ["Baseline", "AdapterDrop^AA, AdapterDrop^1", "AA"]
    first = curves["cola-100"][0]["runs"][0]
    assert first == {"seed": 42, "best": 2, "metric": [60.0, 70.0, 80.0],
                     "loss": [1.0, 0.5, 0.3333]}  # fmt: skip
    assert [run["seed"] for run in curves["qqp-100"][0]["runs"]] == [42]  # others wait for it


def test_commands_are_exact(page: Page) -> None:
    for script in ("table2", "table3", "table4", "claims", "plot_tables", "report"):
        assert f"python studies/{script}.py --tasks sst2 cola --results 'my rows'" in page.text
    assert "python studies/table1.py --data embedded" in page.text


def test_commands_of_a_part_of_the_methods(results: Results) -> None:
    part = results.only(["baseline", "aa"])
    text = Page(report.page(part, OPTIONS)).text
    assert "studies/table2.py --tasks sst2 cola --results 'my rows' --methods baseline aa" in text
    assert "Table 3" not in text and "Table 4" in text  # Table 3 needs no command


def test_an_architecture_of_ones_own_stands_in_table_2(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Method("mine", "My own", lambda n: (1, 2), "gelu", places="two of five")
    monkeypatch.setitem(architectures.METHODS, "mine", mine)
    monkeypatch.setattr(page_commands.plugins, "method_names", lambda: ("mine",))
    page = Page(report.page(make_results(own=("mine",)), OPTIONS))
    of_table = [{line[0] for line in table} for table in page.tables[1:4]]  # Tables 2, 3 and 4
    assert ["My own" in labels for labels in of_table] == [True, False, False]
    assert ["My own", "two of five", "gelu", "no"] in [row for t in page.tables for row in t]
    for number, picks in ((2, False), (3, True)):  # --own brings it into every table
        command = f"studies/table{number}.py --tasks sst2 cola --results 'my rows'"
        assert command in page.text and (f"{command} --methods" in page.text) == picks


def test_commands_without_the_data_train_nothing() -> None:
    recorded = tuple((name, "embedded-1") for name in ("qqp", "sst2", "cola"))
    study = make_study(methods=ALL_TABLES, source=Source(ROWS, recorded))
    options = ["--data", ROWS]
    text = Page(report.page(Results(study, []), options)).text
    assert "python studies/table2.py --data rows --no-run" in text
    assert "python studies/claims.py --data rows --no-run" not in text  # claims.py never trains


def test_provenance(page: Page) -> None:
    for fact in ("commit 0123456789", "torch 2.13.0", "SHA-256 weights", "CoLA: embedded-1",
                 "1 training run was interrupted and continued from a checkpoint",
                 "2026-11-21 12:00 UTC"):  # fmt: skip
        assert fact in page.text, fact


def test_a_study_that_has_not_begun() -> None:
    study = make_study(methods=ALL_TABLES)
    text = Page(report.page(Results(study, []))).text
    for part in ("Nothing has been run yet.", "No rows yet.", "not run 24",
                 "python studies/table2.py"):  # fmt: skip
        assert part in text, part


def test_an_unfinished_study_shows_what_there_is() -> None:
    def skip(cell: Cell) -> bool:
        return cell.task == "cola" and cell.seed == 92 and cell.method in ("baseline", "aa")

    found = Page(report.page(make_results(skip=skip)))
    assert "This study is not complete." in found.text
    gaps = found.tables[[t[0][0] for t in found.tables].index("Method", 4)]
    assert gaps[1:] == [["Baseline", "Low-data-100", "4", "3", "0"],
                        ["AA", "Low-data-100", "4", "3", "0"]]  # fmt: skip
    assert "64.2 (1/2)" in found.text
    assert "Missing: Baseline 100: 1 complete seeds" in found.text


def test_data_that_is_not_there_costs_table_1_only(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise UsageError("the hub cannot be reached")

    monkeypatch.setattr(paper_tables, "table1", unreachable)
    text = Page(report.page(results)).text
    assert "Table 1 (the tasks and their sizes) is not shown: the hub cannot be reached" in text
    assert "Table 2. Test scores" in text


def test_the_first_screen_has_three_sentences_made_of_the_verdicts(
    results: Results, html: str
) -> None:
    start = html.index('<div class="summary">')
    told = Page(html[start : html.index("</div>", start)])
    assert [tag for tag, _ in told.elements].count("p") == 3
    expected = summary.sentences(claims.judge(results))
    assert "".join(told.text.split()) == shown("".join("".join(expected).split()))
    # The map follows before everything else.
    order = [html.index(part) for part in ('class="summary"', 'id="learned"', 'class="facts"',
                                           'id="claims"')]  # fmt: skip
    assert order == sorted(order)


def test_every_new_figure_has_its_table_behind_it(page: Page) -> None:
    heads = [table[0][1:] for table in page.behind]
    assert ["SST-2 100", "CoLA 100"] in heads  # the status map
    assert ["effect", "95 % interval", "learned"] in heads  # the claims' comparisons
    assert [*(f"layer {n}" for n in range(LAYERS)), "random sets"] in heads


def test_the_margin_is_said_and_goes_into_the_commands(results: Results) -> None:
    wider = Page(report.page(results, OPTIONS, margin=4.5)).text
    assert "90 % interval within ±4.5 points" in wider and "margin of ±4.5 points" in wider
    for script, takes in (("claims", True), ("plot_effects", True), ("report", True),
                          ("table2", False)):  # fmt: skip
        command = rf"python studies/{script}.py --tasks sst2 cola --results 'my rows'[^.]*"
        assert bool(re.search(rf"{command} --margin 4\.5", wider)) is takes


def test_methods_that_are_the_same_training_runs_are_named(results: Results, page: Page) -> None:
    # AA selects the last of five layers for QQP, so N is 1, and -uni and -sim are the same.
    assert "AA-focused uni and AA-focused sim are the same training runs here" in page.text


def test_other_studies_are_shown_where_they_have_rows(results: Results) -> None:
    assert "The parts of AA, and the rates" not in Page(report.page(results)).text
    policies = {"released": contrast_study(), "0.003": contrast_study(noise=0.003)}
    ladder = ladder_results(step_size_explains)
    beside = Beside(policies=policies, ladder=ladder)
    text = Page(report.page(results, OPTIONS, beside)).text
    for part in ("The parts of AA, and the rates", "released minus 0.003", "released rates",
                 "Architecture or step size", "Test score against learning rate",
                 "of this project's"):  # fmt: skip
        assert part in text, part
    assert "studies/step_size.py --results 'my rows' --tasks sst2 cola --regimes 100" in text


def test_what_lies_beside_has_rows_of_its_own() -> None:
    ladder = ladder_results(step_size_explains)
    empty = Results(ladder.study, [])
    assert with_rows({"released": empty}, empty, None) == Beside()
    shown = with_rows({"released": ladder}, ladder, ladder)
    assert list(shown.policies) == ["released"] and shown.ladder is not None
    assert shown.ladder.study.tasks == ladder.study.tasks
    assert varied(ladder, 1000) is None


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("released", "the released rates"),
        ("tuned", "tuned rates"),
        ("backbone", "the backbone's default rates"),
        ("0.003", "an adapter rate of 0.003"),
    ],
)
def test_learning_rates_in_words(policy: str, words: str) -> None:
    results = Results(make_study(), [])
    assert report._rates(Beside(policies={"released": results, policy: results})) == words
