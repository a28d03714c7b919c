"""How fast plain PyTorch trains I-JEPA and V-JEPA 2: `python -m benchmarks.pretrain_baseline`.

Training steps that do the work of the published code, module for module and copy for copy, written anew and
without jepa_wm: what our own steps are measured against. ViT-S/16, random data, random masks of fixed sizes.
The last line is JSON.
"""

import copy
import json
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.pretrain_flops import THREADS, gflop, medians, products, products_gflop

Precision = Literal["fp32", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Shapes(NamedTuple):
    """One setting. `context` and `targets` are tokens kept by each mask of an image or clip."""

    batch: int
    context: tuple[int, ...]
    targets: tuple[int, ...]
    frames: int = 1
    tubelet: int = 1
    size: int = 224
    patch: int = 16
    dim: int = 384
    depth: int = 12
    heads: int = 6
    predictor_dim: int = 192
    predictor_depth: int = 6

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along time, height and width."""
        return self.frames // self.tubelet, self.size // self.patch, self.size // self.patch

    @property
    def tokens(self) -> int:
        """Tokens of a whole image or clip."""
        time, height, width = self.grid
        return time * height * width


IJEPA = Shapes(batch=16, context=(52,), targets=(34,) * 4)
"""One context and four target blocks of an image."""
VJEPA = Shapes(batch=4, context=(232, 80), targets=(432, 572), frames=8, tubelet=2)
"""The median sizes of two masks: what is outside and inside of eight blocks of .15, and of two of .7."""


class Masks(NamedTuple):
    """Places of tokens, (B, K) each: kept by the encoder, and predicted."""

    context: list[Tensor]
    targets: list[Tensor]


def draw_masks(shapes: Shapes, seed: int = 0) -> Masks:
    """Random places, in order; every sample of a batch has as many."""
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> Tensor:
        rows = [torch.randperm(shapes.tokens, generator=generator)[:count] for _ in range(shapes.batch)]
        return torch.stack(rows).sort(dim=1).values

    return Masks([draw(count) for count in shapes.context], [draw(count) for count in shapes.targets])


def take(x: Tensor, masks: list[Tensor]) -> Tensor:
    """Tokens (B, N, D) at the places of each mask, (masks · B, K, D)."""
    return torch.cat([x.gather(1, mask[..., None].repeat(1, 1, x.shape[-1])) for mask in masks])


class PlainAttention(nn.Module):
    """Self-attention as I-JEPA has it: the weights are a tensor (B, heads, N, N)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Tokens (B, N, D) -> queries, keys and values, (B, heads, N, D / heads) each."""
        return self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def join(self, x: Tensor) -> Tensor:
        """Heads (B, heads, N, D / heads) -> tokens (B, N, D)."""
        return self.proj(x.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, places: Tensor | None = None) -> Tensor:
        """Tokens (B, N, D) -> (B, N, D); where they are plays no part."""
        q, k, v = self.split(x)
        weights = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
        return self.join(weights.softmax(dim=-1) @ v)


class RotaryAttention(PlainAttention):
    """Self-attention as V-JEPA 2 has it: queries and keys turned, their angles computed in every block."""

    def __init__(self, dim: int, heads: int, grid: tuple[int, int, int]) -> None:
        super().__init__(dim, heads)
        self.grid = grid
        self.axis_dim = 2 * (dim // heads // 3 // 2)

    def forward(self, x: Tensor, places: Tensor | None = None) -> Tensor:
        """Tokens (B, N, D) at `places` (B, N), or in order -> (B, N, D)."""
        q, k, v = self.split(x)
        places = (
            torch.arange(x.shape[1], device=x.device) if places is None else places[:, None].repeat(1, self.heads, 1)
        )
        positions = self.positions(places)
        return self.join(F.scaled_dot_product_attention(self.turn(q, positions), self.turn(k, positions), v))

    def positions(self, places: Tensor) -> tuple[Tensor, ...]:
        """Places in the sequence -> frames, rows and columns."""
        _, height, width = self.grid
        frames = places // (height * width)
        in_frame = places - height * width * frames
        rows = in_frame // width
        return frames, rows, in_frame - width * rows

    def turn(self, x: Tensor, positions: tuple[Tensor, ...]) -> Tensor:
        """Queries or keys: a third of the channels turned by each axis, those left over as they are."""
        parts = x.split([self.axis_dim] * 3 + [x.shape[-1] - 3 * self.axis_dim], dim=-1)
        return torch.cat([rotate(part, at) for part, at in zip(parts[:3], positions, strict=True)] + [parts[3]], dim=-1)


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Turn pairs of channels of x (B, heads, N, C). As published, frequencies repeat in halves, not in pairs."""
    half = x.shape[-1] // 2
    frequencies = 1.0 / 10000 ** (torch.arange(half, dtype=x.dtype, device=x.device) / half)
    angles = positions[..., None] * frequencies
    sin, cos = (wave.repeat(1, 1, 1, 2) for wave in (angles.sin(), angles.cos()))
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    return x * cos + torch.stack([-second, first], dim=-1).flatten(-2) * sin


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, dim: int, attention: nn.Module) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(dim, eps=1e-6), attention, nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor, places: Tensor | None = None) -> Tensor:
        """Tokens (B, N, D) -> (B, N, D)."""
        x = x + self.attention(self.norm1(x), places)
        return x + self.mlp(self.norm2(x))


class Encoder(nn.Module):
    """A vision transformer with a convolution for patches: of images without `rotary`, of clips with it."""

    def __init__(self, shapes: Shapes, rotary: bool) -> None:
        super().__init__()
        patch = (shapes.tubelet, shapes.patch, shapes.patch)
        self.embed = (
            nn.Conv3d(3, shapes.dim, patch, patch) if rotary else nn.Conv2d(3, shapes.dim, patch[1:], patch[1:])
        )
        self.position = None if rotary else frozen(sines(shapes.dim, shapes.grid))
        self.blocks = blocks(shapes.depth, shapes.dim, shapes, rotary)
        self.norm = nn.LayerNorm(shapes.dim, eps=1e-6)

    def forward(self, x: Tensor, masks: list[Tensor] | None = None) -> Tensor:
        """Images (B, 3, H, W) or clips (B, 3, T, H, W) -> tokens (masks · B, K, D), or all, (B, N, D)."""
        x = self.embed(x).flatten(2).transpose(1, 2)
        if self.position is not None:
            x = x + self.position
        places = None
        if masks is not None:
            x, places = take(x, masks), torch.cat(masks)
        for block in self.blocks:
            x = block(x, places)
        return self.norm(x)


class ImagePredictor(nn.Module):
    """I-JEPA's: mask tokens with the positions of a target block after the context, for each block anew."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.enter = nn.Linear(shapes.dim, shapes.predictor_dim)
        self.mask_token = nn.Parameter(torch.randn(1, 1, shapes.predictor_dim) * 0.02)
        self.position = frozen(sines(shapes.predictor_dim, shapes.grid))
        self.blocks = blocks(shapes.predictor_depth, shapes.predictor_dim, shapes, rotary=False)
        self.norm, self.leave = (
            nn.LayerNorm(shapes.predictor_dim, eps=1e-6),
            nn.Linear(shapes.predictor_dim, shapes.dim),
        )

    def forward(self, x: Tensor, masks: Masks) -> Tensor:
        """Context (B, N, D) -> predicted targets (masks · B, K, D)."""
        batch, context = x.shape[:2]
        position = self.position.repeat(batch, 1, 1)
        x = self.enter(x)
        x += take(position, masks.context)
        targets = take(position, masks.targets)
        tokens = self.mask_token.repeat(len(targets), targets.shape[1], 1)
        tokens += targets
        x = torch.cat([x.repeat(len(masks.targets), 1, 1), tokens], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.leave(self.norm(x)[:, context:])


class VideoPredictor(nn.Module):
    """V-JEPA 2's: mask tokens among those of the context, in the order of their places; rotary positions."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.tokens = shapes.tokens
        self.enter = nn.Linear(shapes.dim, shapes.predictor_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, shapes.predictor_dim))
        self.blocks = blocks(shapes.predictor_depth, shapes.predictor_dim, shapes, rotary=True)
        self.norm, self.leave = (
            nn.LayerNorm(shapes.predictor_dim, eps=1e-6),
            nn.Linear(shapes.predictor_dim, shapes.dim),
        )

    def forward(self, x: Tensor, context: Tensor, targets: Tensor) -> Tensor:
        """Context (B, N, D) at its places (B, N), and places of targets (B, K) -> predicted targets (B, K, D)."""
        mask_tokens = take(self.mask_token.repeat(len(x), self.tokens, 1), [targets])
        x = torch.cat([self.enter(x), mask_tokens], dim=1)
        places = torch.cat([context, targets], dim=1)
        order = places.argsort(dim=1)
        x, places = reorder(x, order), reorder(places, order)
        for block in self.blocks:
            x = block(x, places)
        x = reorder(self.norm(x), order.argsort(dim=1))
        return self.leave(x[:, context.shape[1] :])


def blocks(depth: int, dim: int, shapes: Shapes, rotary: bool) -> nn.ModuleList:
    """Blocks of the published kind of attention."""
    make = (
        (lambda: RotaryAttention(dim, shapes.heads, shapes.grid))
        if rotary
        else lambda: PlainAttention(dim, shapes.heads)
    )
    return nn.ModuleList(Block(dim, make()) for _ in range(depth))


def reorder(x: Tensor, order: Tensor) -> Tensor:
    """Rows of x (B, N, ...), each by its own order (B, N), one after another as published."""
    return torch.stack([row[places] for row, places in zip(x, order, strict=True)])


def sines(dim: int, grid: tuple[int, int, int]) -> Tensor:
    """Sine-cosine positions of an image's patches, (1, N, D)."""
    rows, columns = torch.meshgrid(torch.arange(grid[1]), torch.arange(grid[2]), indexing="ij")
    frequencies = 10000 ** -(torch.arange(dim // 4) / (dim // 4))
    angles = [axis.reshape(-1, 1) * frequencies for axis in (columns, rows)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)[None]


def frozen(x: Tensor) -> nn.Parameter:
    """A parameter that is not trained, though the moving average goes over it, as published."""
    return nn.Parameter(x, requires_grad=False)


def initialise(module: nn.Module) -> None:
    """Weights of normal distribution, truncated; biases of zero."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        assert module.bias is not None
        nn.init.zeros_(module.bias)


def optimizer(*modules: nn.Module) -> torch.optim.AdamW:
    """AdamW, in PyTorch's standard form; weights decay, biases and scales do not."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    decayed, plain = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim == 1]
    return torch.optim.AdamW([{"params": decayed, "weight_decay": 0.04}, {"params": plain, "weight_decay": 0}], lr=2e-4)


class Images(NamedTuple):
    """What a step of I-JEPA works on."""

    encoder: Encoder
    predictor: ImagePredictor
    target: Encoder
    x: Tensor

    def loss(self, masks: Masks) -> Tensor:
        """Smooth L1 distance of the predictions to the normalised targets."""
        with torch.no_grad():
            whole = self.target(self.x)
            targets = take(F.layer_norm(whole, whole.shape[-1:]), masks.targets)
        return F.smooth_l1_loss(self.predictor(self.encoder(self.x, masks.context), masks), targets)

    def follow(self) -> None:
        """Moving average, one parameter after another."""
        for target, online in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
            target.mul_(0.996).add_((1 - 0.996) * online)


class Clips(NamedTuple):
    """What a step of V-JEPA 2 works on."""

    encoder: Encoder
    predictor: VideoPredictor
    target: Encoder
    x: Tensor

    def loss(self, masks: Masks) -> Tensor:
        """L1 distance of the predictions to the normalised targets. Each mask goes through both networks by itself."""
        with torch.no_grad():
            whole = self.target(self.x)
            whole = F.layer_norm(whole, whole.shape[-1:])
        encoded = [self.encoder(self.x, [context]) for context in masks.context]
        predicted = [self.predictor(x, *places) for x, *places in zip(encoded, *masks, strict=True)]
        pairs = zip(predicted, masks.targets, strict=True)
        return sum((x - take(whole, [places])).abs().mean() for x, places in pairs) / len(predicted)

    def follow(self) -> None:
        """Moving average, all parameters at once."""
        targets: list[Tensor] = [*self.target.parameters()]
        online: list[Tensor] = [*self.encoder.parameters()]
        torch._foreach_mul_(targets, 0.99925)
        torch._foreach_add_(targets, online, alpha=1 - 0.99925)


def images(shapes: Shapes = IJEPA) -> Images:
    """Networks and random images of I-JEPA's setting."""
    encoder = Encoder(shapes, rotary=False).apply(initialise)
    predictor = ImagePredictor(shapes).apply(initialise)
    x = torch.randn(shapes.batch, 3, shapes.size, shapes.size)
    return Images(encoder, predictor, copy.deepcopy(encoder).requires_grad_(False), x)


def clips(shapes: Shapes = VJEPA) -> Clips:
    """Networks and random clips of V-JEPA 2's setting."""
    encoder = Encoder(shapes, rotary=True).apply(initialise)
    predictor = VideoPredictor(shapes).apply(initialise)
    x = torch.randn(shapes.batch, 3, shapes.frames, shapes.size, shapes.size)
    return Clips(encoder, predictor, copy.deepcopy(encoder).requires_grad_(False), x)


def ijepa_step(precision: Precision, masks: Masks) -> Callable[[], float]:
    """A function that trains I-JEPA for a step and returns the loss."""
    return step_of(images(), precision, masks)


def vjepa_step(precision: Precision, masks: Masks) -> Callable[[], float]:
    """A function that trains V-JEPA 2 for a step and returns the loss."""
    return step_of(clips(), precision, masks)


def step_of(work: Images | Clips, precision: Precision, masks: Masks) -> Callable[[], float]:
    """A function that trains the networks for a step, where they and the masks are, and returns the loss."""
    adamw = optimizer(work.encoder, work.predictor)

    def step() -> float:
        with torch.autocast(work.x.device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = work.loss(masks)
        loss.backward()
        adamw.step()
        adamw.zero_grad()
        with torch.no_grad():
            work.follow()
        return loss.item()

    return step


def main() -> None:
    """Measure and print, one line a setting."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    settings = {"I-JEPA": (ijepa_step, draw_masks(IJEPA)), "V-JEPA 2": (vjepa_step, draw_masks(VJEPA))}
    figures = {}
    for name, (make, masks) in settings.items():
        for precision, dtype in DTYPES.items():
            step = make(precision, masks)
            seconds = medians({"step": step, "products": products(dtype)})
            rate, bare = gflop(step) / seconds["step"], products_gflop() / seconds["products"]
            figures[f"{name} {precision}"] = {"seconds": seconds["step"], "gflops": rate, "share": rate / bare}
            print(
                f"{name} {precision}: {seconds['step']:.2f} s a step, {rate:.0f} GFLOP/s, "
                f"{rate / bare:.0%} of the {bare:.0f} of bare products",
                flush=True,
            )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
