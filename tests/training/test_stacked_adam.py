"""Tests Adam and clipping on an array's stacked parameters against torch's, for one trial each."""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aa_ray.core.model import TrialModel
from aa_ray.training.optimizers import Moments, PlainAdam, Schedule, StackedAdam
from aa_ray.training.stacked_parameters import StackedParameters, norms
from tests.training.conftest import Make
from tests.training.test_stacked_training import ARRAYS, MIXED


def test_norms_keep_their_digits() -> None:
    matrix = torch.rand(2, 2_000_896) + 0.1
    expected = matrix.double().norm(dim=1)
    torch.testing.assert_close(norms(matrix).double(), expected, rtol=1e-6, atol=0)


def reference_step(
    of_trial: TrialModel, optimizer: torch.optim.Adam, gradients: dict[str, Tensor], factor: float
) -> None:
    """Take a step with torch's clipping and Adam on the available gradients."""
    for name, p in of_trial.named_parameters():
        p.grad = gradients[name].clone() if name in gradients else None
    nn.utils.clip_grad_norm_(of_trial.parameters(), of_trial.trial.max_gradient_norm)
    rates = [group["initial_lr"] for group in optimizer.param_groups]
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * factor
    optimizer.step()


def torchs_adam(of_trial: TrialModel) -> torch.optim.Adam:
    groups = [group | {"initial_lr": group["lr"]} for group in of_trial.parameter_groups()]
    return torch.optim.Adam(groups)


@ARRAYS
def test_adam_and_clipping_are_torchs_for_each_trial(
    attach: Make, array: list[dict[str, Any]]
) -> None:
    """AdapterDrop skips layers in some of the trials.

    Halfway, a new optimiser takes over the moments.
    """
    stacked, references = attach(array), [copy.deepcopy(m) for m in attach(array)]
    stacked = attach(array)
    parameters = StackedParameters(stacked, torch.float32)
    adam = StackedAdam(parameters, [{} for _ in stacked])
    optimizers = [torchs_adam(of_trial) for of_trial in references]
    generator = torch.Generator().manual_seed(0)
    skips = [of_trial.trial.inference_depths is not None for of_trial in stacked]
    for step in range(12):
        if step == 6:  # a resumed training run does this
            adam = StackedAdam(parameters, [adam.moments(row) for row in range(len(stacked))])
        first_layers = np.array([[step % 4 if skip else 0 for skip in skips]])
        plan = adam.plan([Schedule(step, 20)] * len(stacked), first_layers)
        parameters.gradients.zero_()
        for row, (of_trial, optimizer) in enumerate(zip(references, optimizers, strict=True)):
            gradients = {}
            for name, p in of_trial.named_parameters():
                layer = parameters.blocks[name].layer
                if layer is None or layer >= first_layers[0, row]:
                    gradients[name] = torch.randn(p.shape, generator=generator)
                    parameters.row(parameters.gradients, row, name).copy_(gradients[name])
            reference_step(of_trial, optimizer, gradients, 1 - step / 20)
        adam.step(torch.from_numpy(plan[0]))
    for row, (of_trial, reference) in enumerate(zip(stacked, references, strict=True)):
        expected = dict(reference.named_parameters())
        for name, p in of_trial.named_parameters():
            torch.testing.assert_close(p, expected[name], rtol=1e-5, atol=1e-6, msg=name)
        check_moments(adam.moments(row), optimizers[row].state_dict()["state"])
    owned = torch.zeros_like(parameters.values, dtype=torch.bool)
    for row, named in enumerate(parameters.named):
        for name in named:
            parameters.row(owned, row, name).fill_(True)
    assert not parameters.values[~owned].any()  # cells without an owner stay 0


def check_moments(moments: Moments, expected: dict[int, dict[str, Tensor]]) -> None:
    for index, of_parameter in expected.items():
        for name, value in of_parameter.items():
            torch.testing.assert_close(moments[index][name], value, rtol=1e-5, atol=1e-7)


def test_moments_go_from_one_optimizer_to_the_other(attach: Make) -> None:
    """Both engines can therefore resume from the same checkpoint."""
    [of_trial] = attach([MIXED[1]])
    plain = PlainAdam(of_trial, Schedule(0, 10), {})
    for p in of_trial.parameters():
        p.grad = torch.randn(p.shape)
    plain.step()
    parameters = StackedParameters([of_trial], torch.float32)
    moments = StackedAdam(parameters, [plain.moments()]).moments(0)
    again = PlainAdam(of_trial, Schedule(1, 10), moments).moments()
    for index, expected in plain.moments().items():
        for name, value in expected.items():
            assert torch.equal(again[index][name], value)
