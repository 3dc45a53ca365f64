"""aa_ray.sweep.messages: messages arrive as they were sent."""

from collections.abc import Callable

from aa_ray.sweep.messages import Job, Report
from aa_ray.trial import Trial


def test_a_job_arrives_as_it_was_sent(make_trial: Callable[..., Trial]) -> None:
    trials = [make_trial(inference_depths=(1, 2)), make_trial(seed=1)]
    job = Job(trials, {trials[0].id: "adapter-drop"}, {trials[0].id: "NaN"})
    assert Job.from_json(job.to_json()) == job


def test_a_report_arrives_as_it_was_sent() -> None:
    for report in (
        Report([{"trial_id": "a", "selected_layers": [1], "error": None}], ["a remark"]),
        Report([], [], "disk full"),
    ):
        assert Report.from_result({**report.to_result(), "pid": 1}) == report


def test_a_trial_that_ended_without_a_report() -> None:
    assert Report.from_result(None) is None and Report.from_result({"done": True}) is None


def test_which_trials_of_a_job_run(make_trial: Callable[..., Trial]) -> None:
    job = Job([make_trial()], {"a": "aa"}, {"a": "NaN"})
    failed = {"status": "failed", "error": "NaN"}
    assert job.must_run("a", []) and job.must_run("a", [failed])
    assert not job.must_run("a", [failed | {"error": "again, in another way"}])
    assert not job.must_run("b", [failed])
    assert not job.must_run("a", [{"status": "finished", "error": None}])
