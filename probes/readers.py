"""Who reads rows: encoders, text towers and world models with all their layers, the true state, and raw pixels."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jepa_wm.contracts import Encoder
from jepa_wm.encoders import TextAlignment
from jepa_wm.encoders.text import TextTower
from jepa_wm.errors import UserError
from jepa_wm.world_model import WorldModel
from probes.features import Rows
from probes.levels import LATENT, Readout, watched
from probes.pictures import Pictures

MOST_PIXELS = 2**16
"""Numbers of a frame above which raw pixels are refused: a store of them would hold nothing else."""


class Reader:
    """What makes features of rows.

    Attributes:
        parts: the modules that do it; their configuration and weights are what tells one reader from another.
        source: where they come from, in words.
    """

    parts: tuple[nn.Module, ...] = ()
    source = "the data"

    def __call__(self, rows: Rows, readout: Readout) -> None:
        """Read n rows in one pass, and leave every layer in `readout`."""
        raise NotImplementedError

    def distinct(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Rows (m,) that differ in what is read, and for each of the n rows which of these m is like it (n,)."""
        return _distinct(rows.pixels.numbers.tolist() if isinstance(rows.pixels, Pictures) else range(len(rows.ids)))

    def to(self, device: str) -> "Reader":
        """Read there."""
        for part in self.parts:
            part.to(device)
        return self

    @property
    def _device(self) -> torch.device:
        return next(self.parts[0].parameters()).device


class StateReader(Reader):
    """The true state, as its own and only layer."""

    def __call__(self, rows: Rows, readout: Readout) -> None:
        readout.vector(LATENT, rows.state)


class FactorReader(Reader):
    """The true state and every factor of variation: all that there is to know of a frame, as one layer."""

    def __call__(self, rows: Rows, readout: Readout) -> None:
        readout.vector(LATENT, torch.cat([rows.state, *rows.factors.values()], dim=1))


class PixelReader(Reader):
    """Raw pixels, 0 to 255, as their own and only layer."""

    def __call__(self, rows: Rows, readout: Readout) -> None:
        pixels = _pixels(rows)
        numbers = pixels[0].numel()
        if numbers > MOST_PIXELS:
            raise UserError(
                f"pixels: a frame of {tuple(pixels.shape[1:])} has {numbers} numbers; expected {MOST_PIXELS} or "
                "less: leave 'pixels' out, or pack the shards with smaller frames"
            )
        readout.vector(LATENT, pixels.flatten(1))


class EncoderReader(Reader):
    """An encoder: what goes into its blocks, what each of them makes of it, and its own pooled latent.

    Args:
        encoder: pixels to tokens.
        resize: whether frames are brought to the size that it was made for, or read as they are.
    """

    def __init__(self, encoder: Encoder, resize: bool) -> None:
        self.encoder, self.resize = encoder, resize
        self.parts, self.source = (encoder,), encoder.source

    def __call__(self, rows: Rows, readout: Readout) -> None:
        pixels = _pixels(rows, self.encoder.preprocessing if self.resize else None, self._device)
        readout.prefix = getattr(self.encoder, "prefix", 0)
        with watched(self.encoder, readout):
            latents = self.encoder.pooled(pixels)
        readout.vector(LATENT, latents)


class WorldReader(Reader):
    """A world model: its encoder's layers, and as the last what its dynamics is given of a frame.

    Args:
        model: encoder, and how it reads frames.
    """

    def __init__(self, model: WorldModel) -> None:
        self.model = model
        self.parts = (model.encoder, model.frames)
        self.source = f"the latents of a world model; {model.encoder.source}"

    def to(self, device: str) -> "WorldReader":
        self.model.to(device)
        return self

    def __call__(self, rows: Rows, readout: Readout) -> None:
        readout.prefix = getattr(self.model.encoder, "prefix", 0)
        with watched(self.model.encoder, readout):
            latents = self.model.encode(rows.pixels[:, None], rows.state[:, None])[:, 0]
        readout.prefix = 0
        if latents.shape[1] == 1:
            readout.vector(LATENT, latents[:, 0])
        else:
            readout.tokens(LATENT, latents)


class TextReader(Reader):
    """A text tower on the captions of frames; each sentence is read once, so equal captions have equal features.

    Args:
        text: a tower, or an alignment, whose latents have unit norm.
        source: where it comes from, in words.
    """

    def __init__(self, text: TextTower | TextAlignment, source: str) -> None:
        self.text, self.parts, self.source = text, (text,), source

    def __call__(self, rows: Rows, readout: Readout) -> None:
        aligned = isinstance(self.text, TextAlignment)
        tower: Any = self.text.tower if aligned else self.text
        read: Any = self.text.text if aligned else self.text

        def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            readout.mask = _words(module, args, kwargs)

        hook = tower.tower.register_forward_pre_hook(note, with_kwargs=True)
        try:
            with watched(tower, readout):
                latents = read(rows.captions)
        finally:
            hook.remove()
        readout.vector(LATENT, latents)

    def distinct(self, rows: Rows) -> tuple[Tensor, Tensor]:
        if silent := sum(not caption.strip() for caption in rows.captions):
            raise UserError(
                f"{silent} of {len(rows.captions)} samples have no caption, which a text tower reads; "
                "leave ':text' out, or pack the shards with a caption for every sample"
            )
        return _distinct(rows.captions)


def _pixels(rows: Rows, sized: Callable[[Tensor], Tensor] | None = None, device: torch.device | str = "cpu") -> Tensor:
    """Pixels uint8 (n, C, H, W) of rows, brought to one size by `sized` if it is given."""
    if isinstance(rows.pixels, Pictures):
        return rows.pixels.decode(sized).to(device)
    pixels: Tensor = rows.pixels.to(device)
    return sized(pixels) if sized else pixels


def _distinct(things: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """The row (m,) in which each of n things comes first, in their own order, and which of them each is (n,)."""
    first = {thing: i for i, thing in reversed(list(enumerate(things)))}
    number = {thing: i for i, thing in enumerate(sorted(first))}
    return torch.tensor([first[thing] for thing in number]), torch.tensor([number[thing] for thing in things])


def _words(tower: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Which of a tower's tokens (B, L) belong to the sentence: all up to the last that is no padding."""
    if "attention_mask" in kwargs:
        return kwargs["attention_mask"].bool()
    # The number that pads may be that of a word, too, in a sentence's middle.
    words = args[0] != getattr(tower, "pad_id", 0)
    return words.flip(1).cumsum(dim=1).flip(1) > 0
