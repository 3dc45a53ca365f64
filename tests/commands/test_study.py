"""aa_ray.commands.study: presets and options. tests/test_misuse.py covers wrong usage."""

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aa_ray.commands import cli, from_options, options
from aa_ray.commands.from_options import study_from
from aa_ray.commands.study import main
from aa_ray.core import architectures
from aa_ray.core.architectures import SEEDS
from aa_ray.errors import PIPE_CLOSED, UsageError
from aa_ray.report import paper_tables
from aa_ray.store.rows import Store
from tests.rows import row

TABLE = functools.partial(paper_tables.method_table, "Table 2")


def table2(*arguments: str) -> int:
    return main("Table 2.", architectures.TABLE2, TABLE, arguments)


def parsed(*arguments: str) -> Any:
    return options.study_parser("", architectures.TABLE2).parse_args(arguments)


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(UsageError):
        table2("--tasks", "colla", "--debug")


def test_the_demo_is_what_the_readme_says() -> None:
    study = study_from(parsed(), architectures.TABLE2, "bert-large-uncased")
    assert study.backbone.identity == "minilm" and study.source.location == "embedded"
    assert study.regimes == ("100",) and study.seeds == (42, 92) and len(study.tasks) == 3
    assert study.methods == architectures.TABLE2 and study.epochs == 20
    assert study.rates == study.backbone.own_rates


def test_the_paper_preset_is_the_papers_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    from aa_ray.core.backbones import RELEASED_RATES, Backbone

    monkeypatch.setattr(from_options.backbones, "find", lambda name: Backbone(name, name, 24, 1024))
    study = study_from(parsed("--preset", "paper"), architectures.TABLE2, "bert-large-uncased")
    assert study.backbone.identity == "bert-large-uncased"
    assert len(study.tasks) == 9 and study.seeds == SEEDS == (42, 92, 111, 245, 651)
    assert study.regimes == ("100", "300", "500", "full") and study.rates == RELEASED_RATES
    assert len(study.grid()) == 6 * 9 * (3 * 5 + 1)


def test_options_win_over_the_preset_in_the_order_of_tables() -> None:
    chosen = parsed("--tasks", "cola", "mnli", "cola", "--seeds", "7", "7", "--rates", "released",
                     "--methods", "aa", "baseline", "--epochs", "3")  # fmt: skip
    study = study_from(chosen, architectures.TABLE2, "bert-large-uncased")
    assert study.tasks == ("mnli", "cola") and study.seeds == (7,)
    assert study.methods == ("baseline", "aa") and study.epochs == 3
    assert study.rates.adapter == 1e-4
    own = study_from(parsed("--rates", "2e-3"), architectures.TABLE2, "bert-large-uncased")
    assert (own.rates.adapter, own.rates.rational, own.rates.switch) == (2e-3, 0.01, 0.05)


def test_no_run_without_rows_prints_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table2("--no-run", "--results", str(tmp_path)) == 0
    captured = capsys.readouterr()
    assert "Baseline" not in captured.out and f"--results {tmp_path}" in captured.out
    assert f"results: {tmp_path}" in captured.err


def test_help_names_every_choice(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        table2("--help-all")
    assert exit_.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for word in ("demo", "low-data", "minilm", "hub", "embedded", "wnli", "aa-focused-sim", "s3://",
                 "latex", "42 92 111 245 651"):  # fmt: skip
        assert word in text


def test_rows_of_several_sources_do_not_say_which_data_is_meant(
    tiny_folder: Path, tmp_path: Path
) -> None:
    store = Store(str(tmp_path))
    for source in ("one", "two"):
        store.write([row(source, task="sst2", data_source=source)])
    given = parsed("--backbone", str(tiny_folder), "--data", "rows", "--results", str(tmp_path))
    with pytest.raises(UsageError, match=r"task sst2 come from several sources \(one, two\)"):
        study_from(given, architectures.TABLE2, "bert-large-uncased")


def test_ranges_of_seeds_and_regimes_in_order_of_size() -> None:
    study = study_from(
        parsed("--seeds", "7", "100-103", "101", "--regimes", "full", "2000", "150"),
        ("aa",),
        "minilm",
    )
    assert study.seeds == (7, 100, 101, 102, 103)
    assert study.regimes == ("150", "2000", "full")
    assert study.seeds_of("full") == (7,)
    more = study_from(parsed("--seeds", "7", "100-103", "--full-seeds", "3"), ("aa",), "minilm")
    assert more.seeds_of("full") == (7, 100, 101)


@pytest.mark.parametrize("seeds", ["9-3", "1-", "-1", "1-2-3", "0-99999999"])
def test_what_is_no_range_of_seeds(seeds: str) -> None:
    with pytest.raises(UsageError, match="--seeds"):
        study_from(parsed(f"--seeds={seeds}"), ("aa",), "minilm")


def test_retries_of_the_hubs_client_are_not_shown() -> None:
    """The error reports their outcome. Importing the package leaves the logging of others alone."""
    see = (
        "import logging; from huggingface_hub.utils import _http; "
        "print(_http.logger.isEnabledFor(logging.WARNING))"
    )
    work = f"from aa_ray.commands import study; study.guarded('', [], lambda: exec({see!r}) or 0)"
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_VERBOSITY"}
    for code, shown in ((f"import aa_ray; {see}", "True\n"), (work, "False\n")):
        ran = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True, text=True, timeout=300, env=environment, check=False,
        )  # fmt: skip
        assert ran.stdout == shown, ran.stderr


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """An example is `python studies/table2.py --no-run | head -2`."""
    work = "lambda: print('a line\\n' * 100_000) or 0"
    code = f"import sys; from aa_ray.commands import study; sys.exit(study.guarded('', [], {work}))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "a line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == PIPE_CLOSED


def test_tuned_rates_and_a_fixed_n() -> None:
    tuned = study_from(parsed("--rates", "tuned", "--last-n", "3"), ("aa",), "minilm")
    assert tuned.tuning is not None and len(tuned.tuning.settings) == 6 and tuned.last_n == 3
    few = study_from(parsed("--rates", "tuned", "--tuning-budget", "2"), ("aa",), "minilm")
    assert few.tuning is not None and len(few.tuning.settings) == 2
    plain = study_from(parsed(), ("aa",), "minilm")
    assert plain.tuning is None and plain.last_n is None
    with pytest.raises(UsageError, match="--seeds 9001 9003: rates are tuned with these seeds"):
        study_from(parsed("--rates", "tuned", "--seeds", "1", "9003", "9001"), ("aa",), "minilm")
    with pytest.raises(UsageError, match="--tuning-budget 9: expected 2 to 8"):
        study_from(parsed("--rates", "tuned", "--tuning-budget", "9"), ("aa",), "minilm")


def _outcome(work: str, output: str = "", **environment: str) -> tuple[int, str]:
    """Return exit status and standard error of guarded work; its output goes to a file."""
    code = (
        f"import sys; from aa_ray.commands import study; sys.exit(study.guarded('p', [], {work}))"
    )
    with open(output or os.devnull, "w") as file:
        done = subprocess.run([sys.executable, "-c", code], stdout=file, stderr=subprocess.PIPE,
                              text=True, env=os.environ | environment, check=False)  # fmt: skip
    return done.returncode, done.stderr


def test_an_output_that_takes_no_more_or_not_these_characters() -> None:
    full = _outcome("lambda: print('x' * 100_000) or 0", "/dev/full")
    assert full == (1, "p: cannot write the output (No space left on device); free some space. "
                       "Finished trials are kept\n")  # fmt: skip
    ascii_only = _outcome("lambda: print('73.9 \\u00b1 2') or 0", PYTHONIOENCODING="ascii")
    assert ascii_only == (
        1, "p: the output's encoding, ascii, lacks '\\xb1'; set PYTHONIOENCODING=utf-8\n"
    )  # fmt: skip


def test_nothing_to_compact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compact", "--results", str(tmp_path / "none")]) == 2
    assert "no such folder; nothing to compact" in capsys.readouterr().err
