"""From published names of tensors to those of our `ViT`, and from tensors to the `ViT` itself.

All layouts are brought to the same names first, those of the raw checkpoints of ViT's descendants
(`blocks.0.attn.qkv.weight`), which are also ours.
"""

import math
import re
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from jepa_wm.encoders.blocks import BlockOptions
from jepa_wm.encoders.positions import Grid
from jepa_wm.encoders.vit import ViT
from jepa_wm.encoders.weights import State
from jepa_wm.errors import UserError


def renamed(state: State, table: tuple[tuple[str, str | None], ...]) -> State:
    """Names by a table of patterns, each applied where it fits, in order; None drops the tensor."""
    found = {}
    for name, value in state.items():
        for pattern, new in table:
            if new is None:
                if re.search(pattern, name):
                    break
            else:
                name = re.sub(pattern, new, name)
        else:
            found[name] = value
    return found


def fused(state: State) -> State:
    """`….attn.q`, `k` and `v` become `….attn.qkv`; a bias that a model does without is 0."""
    found = {name: value for name, value in state.items() if not re.search(r"\.attn\.[qkv]\.", name)}
    for name, value in state.items():
        if name.endswith(".attn.q.weight"):
            stem = name.removesuffix(".q.weight")
            found[f"{stem}.qkv.weight"] = torch.cat([state[f"{stem}.{letter}.weight"] for letter in "qkv"])
            none = value.new_zeros(len(value))
            biases = [state.get(f"{stem}.{letter}.bias", none) for letter in "qkv"]
            found[f"{stem}.qkv.bias"] = torch.cat(biases)
    return found


def halved(state: State) -> State:
    """A gated MLP's `w12` (or `weights_in`) becomes its gate and its values, `w3` (`weights_out`) what follows."""
    found = {}
    for name, value in state.items():
        stem, _, kind = name.rpartition(".")
        if stem.endswith((".mlp.w12", ".mlp.weights_in")):
            mlp = stem.rpartition(".")[0]
            found[f"{mlp}.fc1_g.{kind}"], found[f"{mlp}.fc1_x.{kind}"] = value.chunk(2)
        else:
            found[re.sub(r"\.mlp\.(w3|weights_out)\.", ".mlp.fc2.", name)] = value
    return found


def block_options(state: State, eps: float, activation: str = "gelu") -> BlockOptions:
    """What the blocks of a renamed state are: gated or not, scaled or not, how wide."""
    gated = "blocks.0.mlp.fc1_g.weight" in state
    dim, hidden = state["blocks.0.mlp.fc2.weight"].shape
    scale = 1.0 if "blocks.0.ls1.gamma" in state else None
    return BlockOptions("swiglu" if gated else activation, hidden / dim, layer_scale=scale, eps=eps)


def activation(config: dict[str, Any], default: str) -> str:
    """Our name of a Hugging Face config's activation.

    Raises:
        UserError: if there is none.
    """
    names = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "quick_gelu": "quick_gelu", "silu": "swiglu"}
    name = config.get("hidden_act", default)
    if name not in names:
        raise UserError(f"config.json: hidden_act is '{name}'; expected one of {', '.join(names)}")
    return names[name]


def depth(state: State) -> int:
    """The number of blocks."""
    return 1 + max(int(name.split(".")[1]) for name in state if re.match(r"blocks\.\d+\.", name))


def heads(config: dict[str, Any], dim: int, table: dict[int, int]) -> int:
    """Attention heads, from the config or else by the published widths.

    Raises:
        UserError: if neither says.
    """
    found = config.get("num_attention_heads") or table.get(dim)
    if not found:
        raise UserError(
            f"tensors of width {dim} do not say how many attention heads they are for; "
            f"give heads=… (known widths: {', '.join(map(str, table))})"
        )
    return found


def square(tokens: int) -> Grid:
    """The grid of an image of so many patches.

    Raises:
        UserError: if it is not a square.
    """
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise UserError(f"a table of {tokens} positions is no square grid")
    return 1, side, side


def embedding(kernel: Tensor) -> Tensor:
    """A patch embedding's kernel (D, C, p, p) or (D, C, t, p, p) as that of a linear layer on flat patches."""
    return kernel.flatten(1)


def check_fit(state: State, layout: str, module: nn.Module) -> None:
    """Compare a renamed state with that of the module that it is for.

    Raises:
        UserError: if names or shapes do not fit.
    """
    own = module.state_dict()
    missing, unknown = own.keys() - state.keys(), state.keys() - own.keys()
    if missing or unknown:
        near = {name: get_close_matches(name, sorted(missing), n=1) for name in sorted(unknown)}
        told = [f"{name}{f' (near {close[0]})' if close else ''}" for name, close in near.items()]
        raise UserError(
            f"these weights do not fit the {layout} layout: unknown {', '.join(told[:5]) or 'none'}; "
            f"missing {', '.join(sorted(missing)[:5]) or 'none'}"
        )
    wrong = [f"{name} {tuple(state[name].shape)}" for name in own if state[name].shape != own[name].shape]
    if wrong:
        raise UserError(f"these weights do not fit the {layout} layout: unexpected shapes of {', '.join(wrong[:5])}")


def fill(state: State, layout: str, vit: ViT) -> ViT:
    """Give a `ViT` that was built on the meta device its tensors, in float32 at least.

    Raises:
        UserError: if names or shapes do not fit.
    """
    check_fit(state, layout, vit)
    vit.load_state_dict({name: _own(value) for name, value in state.items()}, assign=True)
    vit.expect(vit.preprocessing)  # its colours are not part of the state, and were built on the meta device, too
    return vit.eval()


def _own(value: Tensor) -> Tensor:
    """A copy in memory of its own, not mapped from a file, and precise enough to train on."""
    return value.to(torch.float32 if value.dtype in (torch.float16, torch.bfloat16) else value.dtype, copy=True)
