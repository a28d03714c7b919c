"""Golden numbers of stable-worldmodel's DINO-WM: stable_worldmodel/wm/prejepa, in float64.

It runs the classes PreJEPA, CausalPredictor and Embedder at weights by formula, small, with two blocks, around the
Dinov2Model of transformers: PreJEPA.encode of pictures of another size than its positions are of, its predictor in
training (no dropout) with gradients of the error that its training script takes, of all but the action's channels, and
PreJEPA.rollout from two frames' pixels under five actions, past the window's end. Channels are of the pictures,
"proprio", "action" and "gripper", in this order; those of the action are left out of what is stored. It turns pictures
and states to float32, which are made float64 here. It needs einops and transformers.
"""

import torch
from formula import checks, formula, normalised, pixels, rounded, tensor
from reference import alone, gradients, how, source, write

WIDTH, TOKENS, FRAMES, HORIZON, BLOCK = 64, 4, 3, 5, 6
STATES = {"proprio": (3, 2), "gripper": (1, 1)}
EXTRA = {"proprio": (3, 2), "action": (BLOCK, 3), "gripper": (1, 1)}
"""Numbers and channels."""
ENCODER = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 1, "mlp_ratio": 1}
ENCODER |= {"image_size": 16, "patch_size": 4}
PREDICTOR = {"num_patches": TOKENS, "num_frames": FRAMES, "depth": 2, "heads": 2, "mlp_dim": 16, "dim_head": 4}
ACTION = slice(WIDTH + 2, WIDTH + 5)


def without_action(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x[..., : ACTION.start], x[..., ACTION.stop :]], dim=-1)


def main() -> None:
    folder = source(__doc__)
    from transformers import Dinov2Config, Dinov2Model

    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    code = folder / "stable_worldmodel" / "wm" / "prejepa"
    parts, whole = alone(code / "module.py"), alone(code / "prejepa.py")
    extra = {key: parts.Embedder(in_chans=numbers, emb_dim=width) for key, (numbers, width) in EXTRA.items()}
    dim = WIDTH + sum(width for _, width in EXTRA.values())
    model = whole.PreJEPA(
        Dinov2Model(Dinov2Config(**ENCODER)).double().eval(),
        parts.CausalPredictor(dim=dim, **PREDICTOR),
        torch.nn.ModuleDict(extra),
        history_size=FRAMES,
    )
    masks = {name: value for name, value in model.state_dict().items() if name.endswith(".0.bias") and value.ndim == 4}
    made = {name: formula(name, value.shape) for name, value in model.state_dict().items() if name not in masks}
    model.load_state_dict(made | masks)
    seen = pixels("prejepa.pixels", (2 * (FRAMES + 1), 3, 8, 8))
    felt = {key: tensor(f"prejepa.{key}", (2, FRAMES + 1, numbers)) for key, (numbers, _) in STATES.items()}
    taken = tensor("prejepa.actions", (2, FRAMES + 1, BLOCK))
    given = {"pixels": normalised(seen).unflatten(0, (2, -1)), "action": taken} | felt
    model.train()
    model.backbone.eval()
    latents = model.encode(dict(given))["emb"]
    predicted = without_action(model.predict(latents[:, :FRAMES]))
    loss = (predicted - without_action(latents[:, 1:]).detach()).pow(2).mean()
    named = {name: value for name, value in model.named_parameters() if name.startswith(("predictor", "extra"))}
    numbers = {
        "shapes": {name: list(value.shape) for name, value in made.items()},
        "masks": {name: list(value.shape) for name, value in masks.items()},
        "encoded": checks("prejepa.encoded", without_action(latents)),
        "predicted": checks("prejepa.predicted", predicted),
        "loss": rounded(loss),
        "gradients": gradients(loss, named),
    }
    model.eval()
    ahead = tensor("prejepa.ahead", (2, 1, 1 + HORIZON, BLOCK))
    info = {name: value[:, None, :2] for name, value in given.items()} | {"action_history": ahead[:, :, :1]}
    with torch.no_grad():
        imagined = model.rollout(info, ahead[:, :, 1:])["predicted_emb"][:, 0, 2:]
    numbers["imagined"] = checks("prejepa.imagined", without_action(imagined))
    write("prejepa", {"how": how(folder, "https://github.com/galilai-group/stable-worldmodel", __doc__), **numbers})


if __name__ == "__main__":
    main()
