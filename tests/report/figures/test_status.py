"""aa_ray.report.figures.status: every square agrees with its rows."""

from typing import Any

import numpy as np
import pytest

from aa_ray.core.architectures import SEEDS
from aa_ray.report.drawing import AMBER, BLUE, PAPER, SHADE
from aa_ray.report.figures import status
from aa_ray.report.learned import State
from aa_ray.report.results import Results
from tests.report.figures.made_up import results
from tests.report.test_claims import as_in_the_paper, at_chance
from tests.report.test_claims import results as with_scores


def squares(ax: Any) -> dict[tuple[int, int], tuple[str, str]]:
    """Return (line, column) -> (letter, colour)."""
    from matplotlib.colors import to_hex

    letters = {tuple(map(int, text.get_position())): text.get_text() for text in ax.texts
               if text.get_ha() == "center" and text.get_va() == "center_baseline"}  # fmt: skip
    return {
        (y, x): (letters[x, y], to_hex(patch.get_facecolor()))
        for patch in ax.patches
        for x, y in [(round(patch.get_x() + 0.5), round(patch.get_y() + 0.5))]
    }


def one_class_on_cola(row: dict[str, Any], rng: np.random.Generator) -> None:
    if row["task"] == "cola" and row["method"] == "baseline":
        row["answers"] = 1


def test_letters_and_colours_are_those_of_the_states() -> None:
    study = with_scores(as_in_the_paper, change=one_class_on_cola)
    drawing = status.status_map({"": study})
    [ax] = drawing.figure.axes
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[0] == "Baseline" and len(labels) == len(study.lines())
    by_place = squares(ax)
    assert by_place[0, 0] == ("L", BLUE) and by_place[0, 1] == ("1", AMBER)
    assert {by_place[y, 1] for y in range(1, len(labels))} == {("L", BLUE)}
    unlearned = with_scores(as_in_the_paper, change=at_chance("cola"))
    [ax] = status.status_map({"": unlearned}).figure.axes
    assert {squares(ax)[y, 1] for y in range(len(labels))} == {("C", SHADE)}


def test_unknown_and_no_rows_differ() -> None:
    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        row |= {"chance": None, "chance_error": None, "answers": None, "data_source": "files-0"}

    [ax] = status.status_map({"": with_scores(as_in_the_paper, change=change)}).figure.axes
    assert squares(ax)[0, 0] == ("?", PAPER)
    some = results(skip=lambda cell: (cell.method, cell.task) == ("baseline", "cola"))
    [ax] = status.status_map({"": some}).figure.axes
    assert squares(ax)[0, 0][0] == "L" and squares(ax)[0, 1] == ("", PAPER)


def test_methods_without_rows_are_named() -> None:
    study = results(skip=lambda cell: cell.method == "baseline")
    drawing = status.status_map({"released": study, "tuned": results()})
    assert drawing.missing == ["Baseline (released)"]
    assert [ax.get_title(loc="left") for ax in drawing.figure.axes] == [
        "released rates", "tuned rates"
    ]  # fmt: skip


def test_policies_share_lines_even_where_n_differs() -> None:
    one, other = results(last_n=1), results(last_n=3)
    titles = status.row_titles([one, other])
    assert "AdapterDrop^N" in titles.values() and "AA-focused^uni" in titles.values()
    assert "AdapterDrop^1" in status.row_titles([one, one]).values()


def test_colours_differ_in_grey() -> None:
    from matplotlib.colors import to_rgb

    grounds = {ground for letter, ground, _ in status.MARKS.values() if letter in ("L", "1", "C")}
    grey = sorted(np.dot(to_rgb(ground), [0.299, 0.587, 0.114]) for ground in grounds)
    assert min(np.diff(grey)) > 0.15
    letters = [letter for letter, _, _ in status.MARKS.values()]
    assert len(set(letters)) == len(letters)


def test_the_table_says_the_same_in_words() -> None:
    drawing = status.status_map({"": with_scores(as_in_the_paper, change=one_class_on_cola)})
    assert drawing.table is not None
    [section] = drawing.table.sections
    words = {label: [entry.text for entry in entries] for label, entries in section.lines}
    assert words["Baseline"] == ["learned", "one class"]


@pytest.mark.parametrize("state", [*State, None])
def test_every_state_has_a_mark_and_words(state: State | None) -> None:
    assert state in status.MARKS and state in status.WORDS


def test_without_rows_there_is_nothing_on_the_map() -> None:
    empty = Results(results().study, [])
    drawing = status.status_map({"": empty})
    assert drawing.table is not None and drawing.table.columns == []
    assert "Baseline" in drawing.missing


def test_a_square_rests_on_all_seeds() -> None:
    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        row |= {"chance": 0.5, "chance_error": 0.01}
        row["test_metric"] = 0.66 if row["seed"] == SEEDS[-1] else 0.5  # 0.532 on average

    def letter(seeds: tuple[int, ...]) -> str:
        study = with_scores(as_in_the_paper, seeds=seeds, change=change)
        [ax] = status.status_map({"": study}).figure.axes
        return squares(ax)[0, 0][0]

    assert letter(SEEDS) == "L" and letter(SEEDS[:-1]) == "C"
