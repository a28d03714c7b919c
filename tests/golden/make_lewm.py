"""Golden numbers of LeWM's predictor: stable_worldmodel/wm/lewm of galilai-group/stable-worldmodel, in float64.

It runs the classes LeWM, Predictor, Embedder and MLP at weights by formula, small, with two blocks: predictions of
three frames in training (no dropout) with the gradients of their mean squared error, and in evaluation, and
LeWM.rollout from one given frame under five actions. The embedder turns its input to float32, which is made float64
here. It needs einops.
"""

import importlib.util
import sys
import types

import torch
from formula import checks, formula, rounded, tensor
from reference import gradients, how, source, write

DIM, BLOCK, FRAMES, HORIZON = 8, 6, 3, 5


def load(folder, name):
    """A file of the package without the package, whose import is heavy."""
    spec = importlib.util.spec_from_file_location(name, folder / "stable_worldmodel" / "wm" / "lewm" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """By formula; running variances are near 1."""
    state = {
        name: formula(name, value.shape) for name, value in model.state_dict().items() if value.is_floating_point()
    }
    return {name: 1 + value if name.endswith("running_var") else value for name, value in state.items()}


def main() -> None:
    folder = source(__doc__)
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    sys.modules["stable_worldmodel"] = types.ModuleType("stable_worldmodel")
    parts, whole = load(folder, "module"), load(folder, "lewm")
    norm = torch.nn.BatchNorm1d
    model = whole.LeWM(
        torch.nn.Identity(),
        parts.Predictor(
            num_frames=FRAMES, depth=2, heads=2, mlp_dim=16, input_dim=DIM, hidden_dim=DIM, dim_head=4, dropout=0.0
        ),
        parts.Embedder(input_dim=BLOCK, smoothed_dim=10, emb_dim=DIM),
        pred_proj=parts.MLP(DIM, 16, DIM, norm_fn=norm),
    )
    model.load_state_dict(weights(model), strict=False)
    latents, actions = tensor("lewm.latents", (2, FRAMES + 1, DIM)), tensor("lewm.actions", (2, FRAMES, BLOCK))
    model.train()
    predicted = model.predict(latents[:, :FRAMES], model.action_encoder(actions))
    loss = (predicted - latents[:, 1:]).pow(2).mean()
    named = {name: value for name, value in model.named_parameters() if not name.startswith("action_encoder")}
    numbers = {
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
        numbers["rollout"] = checks("lewm.rollout", model.rollout(info, taken, FRAMES)["predicted_emb"][0, :, 1:])
    write("lewm", {"how": how(folder, "https://github.com/galilai-group/stable-worldmodel", __doc__), **numbers})


if __name__ == "__main__":
    main()
