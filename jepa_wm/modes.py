"""Training and eval mode."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from torch import nn

Own = TypeVar("Own", bound=nn.Module)
Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def in_eval_mode(
    method: Callable[Concatenate[Own, Given], Answer],
) -> Callable[Concatenate[Own, Given], Answer]:
    """A method of a module that is run in eval mode; the parts that were learning are in training mode afterwards."""

    @wraps(method)
    def quiet(self: Own, *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        learning = [part for part in self.modules() if part.training]
        try:
            if learning:
                self.eval()
            return method(self, *args, **kwargs)
        finally:
            for part in learning:  # one by one, for others of them may be frozen
                part.training = True

    return quiet
