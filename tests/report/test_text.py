"""aa_ray.report.text: lists and commits in words."""

from aa_ray.data.tasks import METRICS
from aa_ray.report.text import METRIC_TITLES, commit_text, listed


def test_lists() -> None:
    assert listed([1, 2]) == "1, 2" and listed((3, 4), " ") == "3 4"
    assert listed([]) == "none" and listed([], none="-") == "-"


def test_commits_are_short_and_tell_of_changes() -> None:
    commit = "0123456789abcdef"
    assert commit_text({"commit": commit, "dirty": False}) == "0123456789"
    assert commit_text({"commit": commit, "dirty": True}) == "0123456789+changes"
    assert commit_text({"commit": None, "dirty": None}) == "unknown"


def test_every_metric_has_a_title() -> None:
    assert METRIC_TITLES.keys() == METRICS.keys()
