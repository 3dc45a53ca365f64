"""The examples of docs/queries.md run unchanged and give the right numbers."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aa_ray.store.rows import Store
from aa_ray.store.schema import FINISHED, Row, failed, make_row
from aa_ray.trial import Trial

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "queries.md"
EXAMPLES = dict(re.findall(r"^## (\w+)\n\n```python\n(.*?)```", DOCUMENT.read_text("utf-8"),
                           re.S | re.M))  # fmt: skip

SCORES = {"baseline": (0.5, 0.7), "aa": (0.55, 0.85)}  # per seed
SEEDS = (42, 92)


def row(method: str, seed: int, make_trial: Any) -> Row:
    """Return a finished row of two layers and two epochs, as a worker writes it."""
    rational = method == "aa"
    trial = make_trial(seed=seed, epochs=2, switched=rational, layers=(0, 1))
    history = [[[float(epoch), float(layer), 0, 0, 0, 0] for layer in (0, 1)]
               for epoch in (0, 1, 2)]  # fmt: skip
    return make_row(trial.columns, FINISHED, {
        "method": method, "metric_name": "accuracy", "dev_metric": 0.5,
        "test_metric": SCORES[method][SEEDS.index(seed)], "adapter_layers": [0, 1],
        "selected_layers": [1] if rational else None, "num_layers": 2, "epochs": 2,
        "best_epoch": 2, "train_seconds": 1800.0, "test_seconds": 0.0, "device": "cpu, 1 threads",
        "peak_memory_bytes": 2_000_000_000, "numerators": history if rational else None,
        "curves": [{"epoch": n, "train_loss": 1 / n, "dev_metric": n / 10} for n in (1, 2)],
    })  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, make_trial: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fill a results folder: two methods finished with two seeds, and one training run failed."""
    store = Store(str(tmp_path / "results"))
    for method in SCORES:
        for seed in SEEDS:
            store.write([row(method, seed, make_trial)])
    broken: Trial = make_trial(seed=7)
    store.write([make_row(broken.columns, {"method": "aa"}, failed("out of memory"))])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(tool: str, example: str | None = None) -> dict[str, Any]:
    """Run an example, by default that of the tool's section, and return its variables."""
    pytest.importorskip(tool.lower())
    found: dict[str, Any] = {}
    exec(compile(example or EXAMPLES[tool], f"example for {tool}", "exec"), found)
    return found


def test_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [example, *_] = re.findall(r"^```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.S | re.M)
    rows = run("pandas", example)["rows"]
    assert len(rows) == 5
    aa = rows[(rows.method == "aa") & (rows.status == "finished")]
    assert aa.selected_layers.map(list).tolist() == [[1], [1]]
    assert "sst2" in capsys.readouterr().out


def test_there_is_an_example_per_tool() -> None:
    assert set(EXAMPLES) == {"pandas", "polars", "DuckDB"}


def test_pandas(folder: Path) -> None:
    found = run("pandas")
    line = found["scores"].loc[("100", "sst2", "aa", 2)]
    assert line["mean"] == pytest.approx(0.7) and line["count"] == 2
    assert line["std"] == pytest.approx(np.std([0.55, 0.85], ddof=1))
    assert found["selected"].selected_layers.tolist() == [1, 1]
    curves = found["curves"]
    assert len(curves) == 4 * 2
    assert curves.groupby("epoch").dev_metric.mean().to_dict() == {1: 0.1, 2: 0.2}


def test_polars(folder: Path) -> None:
    found = run("polars")
    gains = {line["method"]: line for line in found["gains"].to_dicts()}
    assert gains["aa"]["gain"] == pytest.approx(10.0) and gains["aa"]["pairs"] == 2
    assert gains["baseline"]["gain"] == 0
    numerators = found["numerators"].to_dicts()
    assert [(n["layer"], n["numerators"][:2]) for n in numerators[:2]] == [
        (0, [2.0, 0.0]), (1, [2.0, 1.0]),
    ]  # fmt: skip


def test_duckdb(folder: Path) -> None:
    found = run("DuckDB")
    assert found["best"].fetchall() == [
        ("sst2", "100", "aa", 70.0, 2, "0.001"), ("sst2", "100", "baseline", 60.0, 2, "0.001"),
    ]  # fmt: skip
    assert found["ladder"].fetchall() == [
        ("sst2", "100", "relu", switched, 2, "0.001", "0.01", "0.05", score, 2)
        for switched, score in (("false", 60.0), ("true", 70.0))
    ]
    hours = {
        method: (hours, gigabytes) for _, method, hours, gigabytes in found["hours"].fetchall()
    }
    assert hours == {"aa": (1.0, 2.0), "baseline": (1.0, 2.0)}
    assert found["failed"].fetchall() == [("aa", "sst2", "100", 7, "out of memory")]
