"""Golden numbers of LeWM: stable_worldmodel/wm/lewm of galilai-group/stable-worldmodel, in float64.

It runs the classes LeWM, Predictor, Embedder and MLP at weights by formula, small, with two blocks: predictions of
three frames in training (no dropout) with the gradients of their mean squared error, and in evaluation, and
LeWM.rollout from one given frame under five actions. Whole, with the encoder that its config names: LeWM.encode at the
encoder's size and a larger one, and LeWM.rollout from two frames' pixels. The embedder turns its input to float32,
which is made float64 here. It needs einops, and stable-pretraining for the encoder.
"""

import torch
from formula import checks, formula, normalised, pixels, rounded, tensor
from reference import alone, gradients, how, source, write

DIM, BLOCK, FRAMES, HORIZON = 8, 6, 3, 5
SIZE = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 24}
ENCODER = {"size": "tiny", "patch_size": 4, "image_size": 16, "pretrained": False, "use_mask_token": False} | SIZE
PREDICTOR = {"num_frames": FRAMES, "depth": 2, "heads": 2, "mlp_dim": 16, "input_dim": DIM, "hidden_dim": DIM}
PREDICTOR |= {"dim_head": 4, "dropout": 0.0}
CONFIG = {
    "_target_": "stable_worldmodel.wm.lewm.LeWM",
    "encoder": {"_target_": "stable_pretraining.backbone.utils.vit_hf"} | ENCODER,
    "predictor": {"_target_": "stable_worldmodel.wm.lewm.module.Predictor"} | PREDICTOR,
}


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """By formula; running variances are near 1."""
    state = {
        name: formula(name, value.shape) for name, value in model.state_dict().items() if value.is_floating_point()
    }
    return {name: 1 + value if name.endswith("running_var") else value for name, value in state.items()}


def pixelwise(model: torch.nn.Module) -> dict[str, object]:
    """What the whole model makes of pictures."""
    numbers = {}
    for side in (16, 24):
        seen = normalised(pixels(f"lewm.pixels{side}", (4, 3, side, side))).unflatten(0, (2, 2))
        numbers[f"encoded{side}"] = checks(f"lewm.encoded{side}", model.encode({"pixels": seen})["emb"])
    taken = tensor("lewm.pixels.taken", (2, 1, 1 + HORIZON, BLOCK))
    info = {"pixels": seen[:, None], "action_history": taken[:, :, :1]}
    imagined = model.rollout(info, taken[:, :, 1:], FRAMES)["predicted_emb"][:, 0, 2:]
    return numbers | {"imagined": checks("lewm.imagined", imagined)}


def main() -> None:
    folder = source(__doc__)
    from stable_pretraining.backbone.utils import vit_hf

    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    code = folder / "stable_worldmodel" / "wm" / "lewm"
    parts, whole = alone(code / "module.py"), alone(code / "lewm.py")
    norm = torch.nn.BatchNorm1d
    model = whole.LeWM(
        vit_hf(**ENCODER).double(),
        parts.Predictor(**PREDICTOR),
        parts.Embedder(input_dim=BLOCK, smoothed_dim=10, emb_dim=DIM),
        projector=parts.MLP(SIZE["hidden_size"], 16, DIM, norm_fn=norm),
        pred_proj=parts.MLP(DIM, 16, DIM, norm_fn=norm),
    )
    model.load_state_dict(weights(model), strict=False)
    latents, actions = tensor("lewm.latents", (2, FRAMES + 1, DIM)), tensor("lewm.actions", (2, FRAMES, BLOCK))
    model.train()
    predicted = model.predict(latents[:, :FRAMES], model.action_encoder(actions))
    loss = (predicted - latents[:, 1:]).pow(2).mean()
    named = {name: value for name, value in model.named_parameters() if name.startswith("pred")}
    numbers = {
        "config": CONFIG,
        "shapes": {name: list(value.shape) for name, value in weights(model).items()},
        "train": {
            "predicted": checks("lewm.train", predicted),
            "loss": rounded(loss),
            "gradients": gradients(loss, named),
        },
    }
    model.load_state_dict(weights(model), strict=False)
    model.eval()
    with torch.no_grad():
        evaluated = model.predict(latents[:, :FRAMES], model.action_encoder(actions))
        numbers["eval"] = checks("lewm.eval", evaluated)
        taken = tensor("lewm.taken", (1, 2, HORIZON, BLOCK))
        seen = tensor("lewm.seen", (1, 1, 1, DIM)).expand(1, 2, 1, DIM)
        info = {"pixels": torch.zeros(1, 2, 1, 1), "emb": seen}
        numbers |= pixelwise(model)
        numbers["rollout"] = checks("lewm.rollout", model.rollout(info, taken, FRAMES)["predicted_emb"][0, :, 1:])
    write("lewm", {"how": how(folder, "https://github.com/galilai-group/stable-worldmodel", __doc__), **numbers})


if __name__ == "__main__":
    main()
