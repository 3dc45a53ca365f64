"""The trained parameters of an array (trials that train side by side), in one matrix.

Row k of ``values`` [K, N] contains all trained parameters of trial k. A block is a range of columns
for one parameter, identified by its name. A trial without that parameter has zeros there, which
stay zeros.

              adapters, layer by layer  |  classifier  |  rationals  |  switches
    trial 0   down  bias  up  bias  ...      ...             ...           ...
    trial 1   down  bias  up  bias  ...      ...             ...           ...

So the weights of a layer are a view [K, in, out], and an optimiser needs one operation for all
trials. The parameters of the trials' modules are views too, so AdapterHub, evaluation, export and
checkpoints read and write the trained values there. Matrices are stored transposed, [in, out], the
layout of batched products and of their gradients.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from aa_ray.core.model import TrialModel

# Bottlenecks start at multiples of this many numbers (16 bytes), and rows are padded to a multiple.
ALIGNMENT, CHUNK = 4, 1024

# Adam's groups, in the order of the blocks.
OTHERS, RATIONALS, SWITCHES = range(3)


class Block(NamedTuple):
    """The columns of one parameter.

    Attributes:
        layer: the layer of its adapter; None for the classifier.
        rate: which of the trial's learning rates it has: OTHERS, RATIONALS or SWITCHES.
        linear: whether it is a weight or bias of a bottleneck, which is computed in the frozen
            layers' type.
        columns: its first column, and the one after its last.
    """

    name: str
    shape: torch.Size
    layer: int | None
    rate: int
    linear: bool
    columns: tuple[int, int]


class Leaf(NamedTuple):
    """A parameter of several trials, stacked, for use in the forward pass.

    Attributes:
        first: the first of the trials.
        values: [trials, ...], requires a gradient.
        gradient: the view to which its gradient is copied.
    """

    first: int
    values: Tensor
    gradient: Tensor


class StackedParameters:
    """The parameters of K trials, and their gradients.

    From creation until ``release``, the parameters of the trials' modules are views of ``values``.

    Args:
        trial_models: models of trials that train only adapters and classifiers.
        dtype: type of the frozen layers, in which bottlenecks are computed.

    Attributes:
        values, gradients: [K, N], float32.
        blocks: name -> block, in the order of the columns.
    """

    def __init__(self, trial_models: Sequence[TrialModel], dtype: torch.dtype) -> None:
        self.trial_models = list(trial_models)
        self.named = [dict(trial_model.named_parameters()) for trial_model in trial_models]
        self.blocks = {block.name: block for block in _blocks(trial_models)}
        width = max((block.columns[1] for block in self.blocks.values()), default=0)
        device = next(iter(self.named[0].values())).device
        size = len(self.named), -(-width // CHUNK) * CHUNK
        self.values = torch.zeros(size, device=device)
        self.gradients = torch.zeros(size, device=device)
        self._computing = self._computing_gradients = None
        if dtype != torch.float32:
            linear = max((b.columns[1] for b in self.blocks.values() if b.linear), default=0)
            self._computing = self.values[:, :linear].to(dtype)
            self._computing_gradients = torch.zeros_like(self._computing)
        for row, parameters in enumerate(self.named):
            for name, parameter in parameters.items():
                view = self.row(self.values, row, name)
                parameter.data = view.copy_(parameter.detach())
        self._names = {id(p): name for named in self.named for name, p in named.items()}

    def row(self, matrix: Tensor, row: int, name: str) -> Tensor:
        """One trial's part of a block of a matrix [K, N], in the parameter's shape."""
        return self._view(matrix, name, row, row)[0]

    def name(self, parameter: Tensor) -> str:
        """The name of one of the trials' parameters."""
        return self._names[id(parameter)]

    def owners(self, name: str) -> tuple[int, int]:
        """The first and the last trial that has the parameter."""
        rows = [row for row, parameters in enumerate(self.named) if name in parameters]
        return rows[0], rows[-1]

    def leaf(self, name: str) -> "Leaf":
        """The parameter of all its owners, and of the trials between them, as a leaf."""
        first, last = self.owners(name)
        values, gradients = self.values, self.gradients
        if self._computing is not None and self.blocks[name].linear:
            assert self._computing_gradients is not None
            values, gradients = self._computing, self._computing_gradients
        pair = [self._view(matrix, name, first, last) for matrix in (values, gradients)]
        if len(self.blocks[name].shape) == 2:  # the shapes of ``baddbmm`` for weights and biases
            pair = [weights.transpose(1, 2) for weights in pair]
        elif self.blocks[name].rate == OTHERS:
            pair = [biases[:, None] for biases in pair]
        return Leaf(first, _leaf(pair[0]), pair[1])

    def gradient_of(self, parameter: Tensor) -> Tensor:
        """The view for the gradient of one trial's parameter."""
        name = self.name(parameter)
        [row] = [k for k, named in enumerate(self.named) if named.get(name) is parameter]
        return self.row(self.gradients, row, name)

    def switches(self) -> "Leaf":
        """The logits of all trials with a switch, [trials, layers, 2], as one leaf."""
        names = [name for name, block in self.blocks.items() if block.rate == SWITCHES]
        owners = [self.owners(name) for name in names]
        first, last = min(a for a, _ in owners), max(b for _, b in owners)
        columns = slice(self.blocks[names[0]].columns[0], self.blocks[names[-1]].columns[1])
        values, gradients = (
            matrix[first : last + 1, columns].unflatten(1, (-1, 2))
            for matrix in (self.values, self.gradients)
        )
        return Leaf(first, _leaf(values), gradients)

    def _view(self, matrix: Tensor, name: str, first: int, last: int) -> Tensor:
        """Rows of a block, [trials, ...]; matrices are transposed."""
        block = self.blocks[name]
        columns = matrix[first : last + 1, slice(*block.columns)]
        if len(block.shape) == 2:
            return columns.unflatten(1, block.shape[::-1]).transpose(1, 2)
        return columns.view(len(columns), *block.shape)  # also works for a scalar

    def before_step(self) -> None:
        """Update the copies in half precision, if the backbone computes in it."""
        if self._computing is not None:
            self._computing.copy_(self.values[:, : self._computing.shape[1]])

    def receive(self, leaves: Sequence[Leaf], gradients: Sequence[Tensor]) -> None:
        """Copy the gradients of these leaves, and set all others to 0."""
        self.gradients.zero_()
        if self._computing_gradients is not None:
            self._computing_gradients.zero_()
        torch._foreach_copy_([leaf.gradient for leaf in leaves], list(gradients))
        if self._computing_gradients is not None:
            width = self._computing_gradients.shape[1]
            self.gradients[:, :width].copy_(self._computing_gradients)

    def release(self, row: int) -> None:
        """Give a trial's modules separate parameters again, with the same values."""
        for parameter in self.named[row].values():
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)


def _leaf(values: Tensor) -> Tensor:
    return values.detach().requires_grad_()


def norms(matrix: Tensor) -> Tensor:
    """The Euclidean norm of each row, [K, N] -> [K]; N is a multiple of ``CHUNK``.

    It sums over chunks first. On a CPU torch adds up the squares of a row one after another, which
    loses digits over millions of them.
    """
    chunks = torch.linalg.vector_norm(matrix.unflatten(1, (-1, CHUNK)), dim=2)  # [K, N / CHUNK]
    return torch.linalg.vector_norm(chunks, dim=1)


def _blocks(trial_models: Sequence[TrialModel]) -> Iterator[Block]:
    """The blocks of all parameters, ordered by rate, and within a rate as in the trials."""
    kinds: dict[str, tuple[int, bool, torch.Size]] = {}
    for trial_model in trial_models:
        bottlenecks = _bottlenecks(trial_model)
        rates = _rates(trial_model)
        for name, parameter in trial_model.named_parameters():
            linear = id(parameter) in bottlenecks
            kinds.setdefault(name, (rates[id(parameter)], linear, parameter.shape))
    start = 0
    order = sorted(kinds, key=lambda name: (kinds[name][0], not kinds[name][1], _layer(name) or 0))
    for name in order:
        rate, linear, shape = kinds[name]
        stop = start + shape.numel()
        yield Block(name, shape, _layer(name), rate, linear, (start, stop))
        start = -(-stop // ALIGNMENT) * ALIGNMENT if linear else stop


def _bottlenecks(trial_model: TrialModel) -> set[int]:
    """Ids of the weights and biases of the bottlenecks' linear layers."""
    adapters = [trial_model.adapter(layer) for layer in trial_model.layers]
    linears = [linear for a in adapters for linear in (a.adapter_down[0], a.adapter_up)]
    return {id(p) for linear in linears for p in linear.parameters()}


def _rates(trial_model: TrialModel) -> dict[int, int]:
    """Id of each parameter -> its rate."""
    coefficients = {id(p) for r in trial_model.rationals.values() for p in r.parameters()}
    rates = {}
    for name, parameter in trial_model.named_parameters():
        rate = RATIONALS if id(parameter) in coefficients else OTHERS
        rates[id(parameter)] = SWITCHES if name.endswith(".switch.logits") else rate
    return rates


def _layer(name: str) -> int | None:
    """The layer of the adapter that has the parameter with this name."""
    return int(name.split(".")[1]) if name.startswith("adapters.") else None
