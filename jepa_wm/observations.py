"""What is seen, what is to be reached, and what is imagined in between."""

from typing import NamedTuple

from torch import Tensor


class Observation(NamedTuple):
    """What is seen and felt, of E environments or of one.

    Attributes:
        pixels: uint8 (E, C, H, W) or (C, H, W).
        state: (E, P) or (P,), for models that read it; None where there is none.
    """

    pixels: Tensor
    state: Tensor | None = None

    def of(self, environments: Tensor) -> "Observation":
        """Those of some environments, bool (E,); what there is one of is for all."""
        if self.pixels.ndim == 3 or len(self.pixels) == 1:
            return self
        state = self.state if self.state is None or self.state.ndim == 1 else self.state[environments]
        return Observation(self.pixels[environments], state)


Goal = Tensor | Observation | str | list[str]
"""Images (E, C, H, W) or one (C, H, W), alone or with their states, a sentence, or a sentence for each environment."""


class Imagined(NamedTuple):
    """What is imagined to follow K blocks of actions.

    Attributes:
        latents: (B, K, N, D); of an ensemble, the mean of its members.
        uncertainty: the root mean square error over N and D that is to be expected of them (B, K), by how far an
            ensemble's members are apart; None of a single predictor, which does not know.
        readouts: what each head reads off the latents, by name.
    """

    latents: Tensor
    uncertainty: Tensor | None
    readouts: dict[str, Tensor]
