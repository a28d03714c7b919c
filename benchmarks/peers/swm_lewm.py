"""stable-worldmodel's LeWM, in its own Python; knows nothing of this package.

swm_lewm.py PRECISION      then, on each line of its input, `train` or `rollout`: =seconds of one on its output;
                           `gflop train` or `gflop rollout`: =billions of operations of the products in one
"""

import sys
import time
from collections.abc import Callable

import torch
from stable_pretraining.backbone.utils import vit_hf
from stable_worldmodel.wm.lewm import LeWM
from stable_worldmodel.wm.lewm.module import MLP, Embedder, Predictor
from stable_worldmodel.wm.loss import SIGReg
from torch.utils.flop_counter import FlopCounterMode

DIM, SIZE, PATCH, BATCH, FRAMES, BLOCK, CANDIDATES, HORIZON = 192, 64, 16, 32, 4, 10, 300, 5


def model() -> LeWM:
    """Its published configuration, at 64 pixels."""
    norm = torch.nn.BatchNorm1d
    return LeWM(
        vit_hf(size="tiny", patch_size=PATCH, image_size=SIZE, pretrained=False, use_mask_token=False),
        Predictor(
            num_frames=3,
            input_dim=DIM,
            hidden_dim=DIM,
            output_dim=DIM,
            depth=6,
            heads=16,
            mlp_dim=2048,
            dim_head=64,
            dropout=0.1,
        ),
        Embedder(input_dim=BLOCK, emb_dim=DIM),
        projector=MLP(DIM, 2048, DIM, norm_fn=norm),
        pred_proj=MLP(DIM, 2048, DIM, norm_fn=norm),
    )


def loss(made: LeWM, gaussianity: SIGReg, pixels: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Its published objective: the next latent under the action, and latents that are Gaussian."""
    found = made.encode({"pixels": pixels, "action": actions})
    latents, acted = found["emb"], found["act_emb"]
    predicted = made.predict(latents[:, :3], acted[:, :3])
    return (predicted - latents[:, 1:]).pow(2).mean() + 0.09 * gaussianity(latents.transpose(0, 1))


def gflop(step: Callable[[], None]) -> float:
    """Billions of floating-point operations of the products of one step."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e9


def main(precision: str) -> None:
    """Serve."""
    torch.set_num_threads(2)
    made, gaussianity = model(), SIGReg()
    optimizer = torch.optim.AdamW(made.parameters(), lr=5e-5, weight_decay=1e-3)
    pixels, actions = torch.randn(BATCH, FRAMES, 3, SIZE, SIZE), torch.randn(BATCH, FRAMES, BLOCK)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")

    def train() -> None:
        made.train()
        with autocast:
            found = loss(made, gaussianity, pixels, actions)
        found.backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    @torch.inference_mode()
    def rollout() -> None:
        made.eval()
        seen = pixels[:1, None, :1].expand(1, CANDIDATES, -1, -1, -1, -1)
        with autocast:
            made.rollout({"pixels": seen}, torch.randn(1, CANDIDATES, HORIZON, BLOCK), 3)

    work = {"train": train, "rollout": rollout}
    counted = {f"gflop {name}": gflop(step) for name, step in work.items()}
    print(f"={sum(parameter.numel() for parameter in made.parameters())}", flush=True)
    for line in map(str.strip, sys.stdin):
        start = time.perf_counter()
        if line in work:
            work[line]()
        print(f"={counted.get(line, time.perf_counter() - start)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
