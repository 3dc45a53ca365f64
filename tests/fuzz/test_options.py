"""Every option with every kind of value gives a plan, or one line and exit status 2."""

import contextlib
import io
import runpy
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aa_ray.commands import options
from aa_ray.core.architectures import TABLE2

FUZZ = settings.get_profile("fuzz")
STUDIES = Path(__file__).parent.parent.parent / "studies"

# Options that print and exit, options without a value, and options with a test of their own.
ENDING = ("--help", "--help-all", "--version")
FLAGS = ("--plan", "--no-run", "--debug", "--retry-failed", "--dashboard", "--all-columns")
OPTIONS = sorted(
    action.option_strings[-1]
    for action in options.study_parser("", TABLE2)._actions
    if action.option_strings and action.option_strings[-1] not in (*ENDING, *FLAGS)
)

NUMBERS = st.one_of(
    st.integers().map(str), st.floats().map(str), st.integers(0, 6000).map(lambda n: "9" * n),
    st.sampled_from(["0x10", "1e3", "1_000", "٣", "½", "-0", "+1", " 1", "1 ", "auto", "full"]),
)  # fmt: skip
# No object store's scheme, since there is no network and each one takes its time to fail.
PLACES = st.sampled_from(
    ["/dev/null", "/dev/zero", "/proc/self/mem", "/sys/x", "~", "~nobody-here/x", ".", "..", "/",
     "file:///", "file://x?y=1", "s3://", "s3:/x", "gs://", "://", "http://127.0.0.1:9/", "a" * 300,
     "a/" * 200, "a\nb", "\u202e", "nul\0nul", "\udcff", "%s{x}", "-", "--", "'", '"', "$(true)"]
)  # fmt: skip
WORDS = st.text(max_size=30) | st.sampled_from(
    ["sst2", "aa", "denominator=A", "denominator=", "=", "pooling=mean", "tuned", "bf16", "hub",
     "rows", "embedded", "minilm", "latex", "mlflow"]
)  # fmt: skip
VALUES = NUMBERS | PLACES | WORDS


def call(*arguments: str) -> tuple[object, str]:
    """Return exit status and standard error of Table 2's command."""
    script = str(STUDIES / "table2.py")
    before, sys.argv = sys.argv, [script, *arguments]
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        return ended.code, err.getvalue()
    finally:
        sys.argv = before
    raise AssertionError("no exit status")


def check(status: object, said: str) -> None:
    """Accept a plan or a one-line error, but no message for unexpected errors."""
    assert status in (0, 2), (status, said)
    assert "unexpected" not in said and "Traceback" not in said
    if status == 2:
        assert said.startswith("table2.py: ") and said.count("\n") == 1
        assert said[:-1].isprintable() and len(said) < 3000


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@given(st.sampled_from(OPTIONS), st.lists(VALUES, min_size=1, max_size=3))
@settings(FUZZ, max_examples=4 * FUZZ.max_examples)
def test_any_value_of_any_option(tiny_folder: Path, option: str, values: list[str]) -> None:
    given_first = [] if option == "--backbone" else ["--backbone", str(tiny_folder)]
    check(*call(*given_first, option, *values, "--plan"))


@pytest.mark.parametrize("option", ["--regimes", "--seeds", "--tasks", "--data", "--results"])
def test_a_very_long_value(tiny_folder: Path, option: str) -> None:
    check(*call("--backbone", str(tiny_folder), option, "9" * 5000, "--plan"))


@given(st.lists(st.sampled_from([*OPTIONS, *FLAGS]) | VALUES, max_size=6))
@settings(FUZZ)
def test_any_words_at_all(tiny_folder: Path, words: list[str]) -> None:
    kept = [word for word in words if word != "--debug"]
    check(*call("--backbone", str(tiny_folder), *kept, "--plan"))
