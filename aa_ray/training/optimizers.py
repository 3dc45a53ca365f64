"""Adam for one trial or for several side by side: clipping, three rates, linear decay.

``StackedAdam`` computes for all trials of an array (trials side by side) what ``PlainAdam``, which
is torch's, computes for one. In both, a parameter that a step does not use, such as an adapter that
AdapterDrop skips, keeps its value, its moments and its step count.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from aa_ray.core.model import TrialModel
from aa_ray.training.stacked_parameters import StackedParameters, norms

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

# Index of the parameter in ``TrialModel.parameter_groups`` -> ``step`` [], ``exp_avg`` and
# ``exp_avg_sq`` of its shape. The names are torch's.
Moments = dict[int, dict[str, Tensor]]


class Schedule(NamedTuple):
    """The position in the linear decay of a trial's learning rates.

    Attributes:
        done: steps taken so far.
        total: total number of steps of the training run.
    """

    done: int
    total: int

    def factor(self, step: int) -> float:
        """The factor of the rates in a future step; ``step`` 0 is the next one."""
        return 1 - (self.done + step) / self.total


class PlainAdam:
    """Torch's Adam for one trial."""

    def __init__(self, trial_model: TrialModel, schedule: Schedule, moments: Moments) -> None:
        self._trial_model = trial_model
        self._schedule = schedule
        self._steps = 0
        self._adam = torch.optim.Adam(trial_model.parameter_groups())
        self._rates = [group["lr"] for group in self._adam.param_groups]
        groups = self._adam.state_dict()["param_groups"]
        self._adam.load_state_dict({"state": moments, "param_groups": groups})

    def step(self) -> None:
        """Clip the existing gradients and take a step."""
        limit = self._trial_model.trial.max_gradient_norm
        nn.utils.clip_grad_norm_(self._trial_model.parameters(), limit)
        factor = self._schedule.factor(self._steps)
        for group, rate in zip(self._adam.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self._adam.step()
        self._adam.zero_grad()
        self._steps += 1

    def moments(self) -> Moments:
        """A copy of the trial's moments."""
        state = self._adam.state_dict()["state"]
        return {
            index: {name: value.clone() for name, value in of_parameter.items()}
            for index, of_parameter in state.items()
        }

    def release(self) -> None:
        """Do nothing, since the modules already own their parameters."""


class StackedAdam:
    """Adam for all trials of an array.

    Columns that always take steps together form a group: all columns with the same learning rate,
    or, if AdapterDrop skips layers, all columns with the same learning rate in a layer.

    Args:
        parameters: the parameters of K trials.
        moments: the moments of each trial so far.
    """

    def __init__(self, parameters: StackedParameters, moments: Sequence[Moments]) -> None:
        self._parameters = parameters
        self._trials = [trial_model.trial for trial_model in parameters.trial_models]
        self._skips = any(trial.inference_depths is not None for trial in self._trials)
        blocks = parameters.blocks.values()
        self._groups = list(
            dict.fromkeys((block.layer if self._skips else None, block.rate) for block in blocks)
        )
        self._counts = np.zeros((len(self._trials), len(self._groups)))  # steps taken [K, G]
        values = parameters.values
        self._first, self._second = torch.zeros_like(values), torch.zeros_like(values)
        self._limits = torch.tensor(
            [trial.max_gradient_norm for trial in self._trials], device=values.device
        )
        self._group_of_column = torch.from_numpy(self._columns()).to(values.device)
        for row, of_trial in enumerate(moments):
            self._put(row, of_trial)

    def _columns(self) -> np.ndarray:
        """[N], the group of each column; arbitrary for columns between blocks."""
        columns = np.zeros(self._parameters.values.shape[1], dtype=np.int64)
        for block in self._parameters.blocks.values():
            columns[slice(*block.columns)] = self._group(block.name)
        return columns

    def _group(self, name: str) -> int:
        block = self._parameters.blocks[name]
        return self._groups.index((block.layer if self._skips else None, block.rate))

    def _names(self, row: int) -> list[str]:
        """The names of a trial's parameters, in the order of Adam's groups."""
        groups = self._parameters.trial_models[row].parameter_groups()
        return [self._parameters.name(p) for group in groups for p in group["params"]]

    def _put(self, row: int, moments: Moments) -> None:
        names = self._names(row)
        for index, of_parameter in moments.items():
            name = names[index]
            self._parameters.row(self._first, row, name).copy_(of_parameter["exp_avg"])
            self._parameters.row(self._second, row, name).copy_(of_parameter["exp_avg_sq"])
            self._counts[row, self._group(name)] = float(of_parameter["step"])

    def moments(self, row: int) -> Moments:
        """A copy of a trial's moments in the form of ``PlainAdam``."""
        return {
            index: {
                "step": torch.tensor(self._counts[row, self._group(name)], dtype=torch.float32),
                "exp_avg": _copy(self._parameters.row(self._first, row, name)),
                "exp_avg_sq": _copy(self._parameters.row(self._second, row, name)),
            }
            for index, name in enumerate(self._names(row))
        }

    def plan(self, schedules: Sequence[Schedule], first_layers: np.ndarray) -> np.ndarray:
        """The coefficients of the next steps, which count as taken from now on.

        Args:
            schedules: the schedule of each trial.
            first_layers: [steps, K], the layers below which the trials skip their adapters.

        Returns:
            [steps, 4, K, G], float32: minus the step size, the second moment's correction, the
            weight of the new first moment, and that of the old second moment.
        """
        layers = np.array([np.inf if layer is None else layer for layer, _ in self._groups])
        active = first_layers[:, :, None] <= layers  # [steps, K, G]
        counts = self._counts + np.cumsum(active, axis=0)
        steps = range(len(first_layers))
        decays = np.array([[of_trial.factor(s) for of_trial in schedules] for s in steps])
        with np.errstate(divide="ignore", invalid="ignore"):  # for groups without a step so far
            sizes = self._rates() * decays[:, :, None] / (1 - BETA1**counts)
        plan = np.stack(
            [
                np.where(active, -sizes, 0),
                np.where(active, np.sqrt(1 - BETA2**counts), 1),
                np.where(active, 1 - BETA1, 0),
                np.where(active, BETA2, 1),
            ],
            axis=1,
        )
        self._counts = counts[-1]
        return plan.astype(np.float32)

    def _rates(self) -> np.ndarray:
        """[K, G], the learning rates."""
        rates = [
            (trial.learning_rate, trial.rational_learning_rate, trial.switch_learning_rate)
            for trial in self._trials
        ]
        return np.array(rates)[:, [rate for _, rate in self._groups]]

    def step(self, plan: Tensor) -> None:
        """Clip each trial's gradient and take a step for all; [4, K, G] is a step of ``plan``."""
        gradients = self._parameters.gradients
        factors = self._limits / (norms(gradients) + 1e-6)  # [K]
        gradients.mul_(factors.clamp_(max=1.0)[:, None])
        sizes, corrections, new, old = plan.unbind()  # [K, G] each
        sizes = self._expanded(sizes)
        if self._skips:
            self._first.lerp_(gradients, self._expanded(new))
            self._second.mul_(self._expanded(old))
            corrections = self._expanded(corrections)
        else:
            self._first.lerp_(gradients, 1 - BETA1)
            self._second.mul_(BETA2)
            corrections = corrections[:, :1]
        self._second.addcmul_(gradients, gradients, value=1 - BETA2)
        deviations = self._second.sqrt().div_(corrections).add_(EPSILON)
        self._parameters.values.addcdiv_(sizes * self._first, deviations)

    def _expanded(self, of_groups: Tensor) -> Tensor:
        """[K, G] -> [K, N], or [K, 1] if there is one group."""
        if len(self._groups) == 1:
            return of_groups
        return of_groups.index_select(1, self._group_of_column)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)


def num_steps(examples: int, batch_size: int) -> int:
    """Number of steps of an epoch."""
    return math.ceil(examples / batch_size)
