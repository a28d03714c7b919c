"""Golden numbers of DINO-WM: models/ of gaoyuezhou/dino_wm, in float64.

It runs VWorldModel, ViTPredictor and ProprioceptiveEmbedding at weights by formula, small, with two blocks and no
dropout, on tokens of frames in place of an encoder: the error of three frames' predictions with its gradients, and
VWorldModel.rollout from two frames under six actions, past the window's end. The masks that it puts on "cuda" stay
where they are. It needs einops.
"""

import torch
from formula import checks, formula, rounded, tensor
from reference import gradients, how, source, write

WIDTH, TOKENS, FRAMES, STATE, BLOCK, CHANNELS = 8, 4, 3, 3, 6, 2


class Tokens(torch.nn.Module):
    """Stands for the encoder: what it is given are tokens."""

    name, emb_dim, latent_ndim = "tokens", WIDTH, 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def stay(to):
    return lambda x, *args, **kwargs: x if args == ("cuda",) else to(x, *args, **kwargs)


def main() -> None:
    folder = source(__doc__)
    torch.set_default_dtype(torch.float64)
    torch.Tensor.to = stay(torch.Tensor.to)
    from models.proprio import ProprioceptiveEmbedding
    from models.visual_world_model import VWorldModel
    from models.vit import ViTPredictor

    parts = {
        "predictor": ViTPredictor(
            num_patches=TOKENS, num_frames=FRAMES, dim=WIDTH + 2 * CHANNELS, depth=2, heads=2, mlp_dim=16, dim_head=4
        ),
        "action_encoder": ProprioceptiveEmbedding(1, 1, BLOCK, CHANNELS),
        "proprio_encoder": ProprioceptiveEmbedding(1, 1, STATE, CHANNELS),
    }
    shapes = {
        f"{part}.{name}": list(value.shape)
        for part, module in parts.items()
        for name, value in module.state_dict().items()
    }
    model = VWorldModel(
        *(224, FRAMES, 1, Tokens()),
        *(parts["proprio_encoder"], parts["action_encoder"], None, parts["predictor"]),
        proprio_dim=CHANNELS,
        action_dim=CHANNELS,
        concat_dim=1,
        num_action_repeat=1,
        num_proprio_repeat=1,
        train_predictor=True,
    )
    model.load_state_dict({name: formula(name, shape) for name, shape in shapes.items()})
    tokens, state = (
        tensor("dino_wm.tokens", (2, FRAMES + 1, TOKENS, WIDTH)),
        tensor("dino_wm.state", (2, FRAMES + 1, STATE)),
    )
    actions = tensor("dino_wm.actions", (2, 2 + 5, BLOCK))
    model.train()
    predicted, _, _, loss, _ = model({"visual": tokens, "proprio": state}, actions[:, : FRAMES + 1])
    named = {name: value for name, value in model.named_parameters() if not name.startswith("encoder")}
    numbers = {
        "shapes": shapes,
        "predicted": checks("dino_wm.predicted", predicted[..., :-CHANNELS]),
        "loss": rounded(loss),
        "gradients": gradients(loss, named),
    }
    with torch.no_grad():
        imagined = model.rollout({"visual": tokens[:, :2], "proprio": state[:, :2]}, actions)[1]
        numbers["imagined"] = checks("dino_wm.imagined", imagined[:, 2:, :, :-CHANNELS])
    write("dino_wm", {"how": how(folder, "https://github.com/gaoyuezhou/dino_wm", __doc__), **numbers})


if __name__ == "__main__":
    main()
