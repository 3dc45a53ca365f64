"""A function of a tensor as a module, for AdapterHub's table of activations."""

from collections.abc import Callable

from torch import Tensor, nn


class FunctionModule(nn.Module):
    """Calls the function; it has no parameters."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, x: Tensor) -> Tensor:
        return self._function(x)
