"""The messages between searcher and actor; both are sent through Tune as JSON.

An actor starts before it imports torch, so this module must not import it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from aa_ray.trial import Trial


@dataclass(frozen=True)
class Job:
    """Trials that an actor trains side by side and whose rows it writes.

    Attributes:
        trials: all trials that train together.
        methods: trial id -> method name, for the trials whose rows are wanted. The others already
            have rows, and are trained again only because the group started with them.
        retried: trial id -> the error of its failed row, for the trials that are retried.
    """

    trials: Sequence[Trial]
    methods: Mapping[str, str]
    retried: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        trials = [trial.to_json() for trial in self.trials]
        return json.dumps({"trials": trials, "methods": self.methods, "retried": self.retried})

    @classmethod
    def from_json(cls, text: str) -> "Job":
        fields = json.loads(text)
        return cls(**fields | {"trials": [Trial.from_json(trial) for trial in fields["trials"]]})

    def must_run(self, trial_id: str, existing: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the trial has to be run, given its existing rows.

        It does not if it has finished, or failed with a new error. That happens when an actor's
        process is lost after it has written the rows, and Tune gives the job to another.
        """
        if not existing:
            return True
        row = existing[0]
        return row["status"] == "failed" and self.retried.get(trial_id) == row["error"]


@dataclass(frozen=True)
class Report:
    """The result of a job.

    Attributes:
        rows: for each trial whose rows were wanted, the queue's columns of one row.
        remarks: messages to the user.
        stop: why the sweep has to stop, if the results folder fails or the study's inputs have
            changed. There are no rows then.
    """

    rows: Sequence[Mapping[str, Any]] = ()
    remarks: Sequence[str] = ()
    stop: str | None = None

    def to_result(self) -> dict[str, Any]:
        """The last result of a Tune trial with this report."""
        return {"report": json.dumps(asdict(self)), "done": True}

    @classmethod
    def from_result(cls, result: Mapping[str, Any] | None) -> "Report | None":
        """The report in a Tune trial's last result; None if the trial ended without one."""
        if result is None or "report" not in result:
            return None
        return cls(**json.loads(result["report"]))
