"""What the searcher tells an actor, and what the actor reports. Both travel through Tune as JSON.

An actor starts before torch is imported, so nothing here may import it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from aa_ray.trial import Trial


@dataclass(frozen=True)
class Job:
    """Trials that an actor trains side by side, and whose rows it writes.

    Attributes:
        trials: all trials that train together.
        methods: trial id -> the method as which it runs, for the trials whose rows are wanted. The
            others have their rows already, and train once more because they began together.
        retried: trial id -> the error of its failed row, for the trials that are run again.
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
        """Whether the trial is to be run, given its existing rows.

        It is not when it has finished, or failed in another way than before. That happens where an
        actor's process is lost after it has written the rows: Tune then gives another the job.
        """
        if not existing:
            return True
        row = existing[0]
        return row["status"] == "failed" and self.retried.get(trial_id) == row["error"]


@dataclass(frozen=True)
class Report:
    """How a job ended.

    Attributes:
        rows: the queue's columns of one row of each trial whose rows were wanted.
        remarks: what the user should hear.
        stop: why the sweep has to stop, where the results folder fails or the study's inputs have
            changed; there are no rows then.
    """

    rows: Sequence[Mapping[str, Any]] = ()
    remarks: Sequence[str] = ()
    stop: str | None = None

    def to_result(self) -> dict[str, Any]:
        """As the last result of a Tune trial."""
        return {"report": json.dumps(asdict(self)), "done": True}

    @classmethod
    def from_result(cls, result: Mapping[str, Any] | None) -> "Report | None":
        """The report in a Tune trial's last result; None where the trial ended without one."""
        if result is None or "report" not in result:
            return None
        return cls(**json.loads(result["report"]))
