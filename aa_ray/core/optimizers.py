"""The paper's optimizer: Adam with three learning rates, which decay linearly to 0.

The released code's rates are in ``aa_ray.core.backbones.RELEASED_RATES``; they were chosen for
BERT-large.
"""

from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_linear_schedule_with_warmup

from aa_ray.core.adapter import Switch, bottleneck_layers
from aa_ray.core.backbones import RELEASED_RATES
from aa_ray.core.rational import Rational
from aa_ray.errors import UsageError


def optimizers(
    model: nn.Module,
    name: str,
    steps: int | None = None,
    *,
    learning_rate: float = RELEASED_RATES.adapter,
    rational_learning_rate: float = RELEASED_RATES.rational,
    switch_learning_rate: float = RELEASED_RATES.switch,
) -> tuple[torch.optim.Adam, LambdaLR | None]:
    """The argument ``optimizers`` of ``AdapterTrainer`` and ``Trainer``; also for a plain loop.

        model.train_adapter("sst2")
        trainer = AdapterTrainer(model=model, optimizers=aa_ray.optimizers(model, "sst2"))

        optimizer, scheduler = aa_ray.optimizers(model, "sst2", steps=1000)

    It is Adam without weight decay. Trainers clip the gradient's norm at 1, as the released code
    does; a plain loop has to do so itself.

    Args:
        model: the model, after ``model.train_adapter``.
        name: name of the adapter.
        steps: total number of training steps, over which the rates decay linearly to 0. None
            leaves the schedule to the trainer, whose default is the same decay.
        learning_rate: rate of all other trained parameters, that is, adapters and head.
        rational_learning_rate: rate of the rationals' coefficients.
        switch_learning_rate: rate of the switches' logits.

    Raises:
        UsageError: no such adapter, one that is not being trained, or fewer than one step.
    """
    groups = parameter_groups(
        model,
        name,
        learning_rate=learning_rate,
        rational_learning_rate=rational_learning_rate,
        switch_learning_rate=switch_learning_rate,
    )
    optimizer = torch.optim.Adam(groups, weight_decay=0.0)
    if steps is None:
        return optimizer, None
    if steps < 1:
        raise UsageError(f"steps is {steps}; expected the number of training steps, at least 1")
    return optimizer, get_linear_schedule_with_warmup(optimizer, 0, steps)


def parameter_groups(
    model: nn.Module,
    name: str,
    *,
    learning_rate: float = RELEASED_RATES.adapter,
    rational_learning_rate: float = RELEASED_RATES.rational,
    switch_learning_rate: float = RELEASED_RATES.switch,
) -> list[dict[str, Any]]:
    """The model's trained parameters in up to three groups, for any torch optimizer.

    The groups include switches and rationals of other adapters that are trained at the same time.

    Args, Raises: as for ``optimizers``.
    """
    adapters = [layer.adapters[name] for layer in bottleneck_layers(model, name)]
    if adapters and not any(p.requires_grad for module in adapters for p in module.parameters()):
        raise UsageError(f"adapter {name!r} is not trained; call model.train_adapter first")
    rationals = _parameters_of(model, Rational)
    switches = _parameters_of(model, Switch)
    others = list(model.parameters())
    special = {id(parameter) for parameter in rationals + switches}
    kinds = [
        ([parameter for parameter in others if id(parameter) not in special], learning_rate),
        (rationals, rational_learning_rate),
        (switches, switch_learning_rate),
    ]
    groups = [
        {"params": [p for p in parameters if p.requires_grad], "lr": rate}
        for parameters, rate in kinds
    ]
    return [group for group in groups if group["params"]]


def _parameters_of(model: nn.Module, kind: type[nn.Module]) -> list[nn.Parameter]:
    modules = [module for module in model.modules() if isinstance(module, kind)]
    return [parameter for module in modules for parameter in module.parameters()]
