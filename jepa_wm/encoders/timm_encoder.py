"""The ViTs of timm."""

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from jepa_wm.encoders.adapters import Adapter, Keep
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.weights import State, pick, read_weights, unwrapped
from jepa_wm.errors import UserError


class TimmEncoder(Adapter):
    """Any ViT of timm: its `VisionTransformer` (DeiT, DINOv2, SigLIP …) and its `Eva` (EVA-02, DINOv3 …) classes.

    Without weights by itself. Tokens are those that `forward_features` gives, without class token and registers;
    latents what `forward_head` makes of them before the classifier.

    Args:
        name: as timm calls the model, "vit_small_patch16_dinov3.lvd1689m" for one; the tag decides the preprocessing.

    Raises:
        UserError: if timm knows no such model, or it is no ViT.
    """

    def __init__(self, name: str) -> None:
        model = _timm_model(name)
        keep = Keep(model.num_prefix_tokens, tells=timm_class(model) == "Eva")
        model.patch_drop = keep
        patch = model.patch_embed.patch_size[0]
        super().__init__(model.embed_dim, model.num_features, patch, _timm_preprocessing(model, patch), keep)
        self.name, self.model = name, model

    def tokens(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images (B, C, H, W) -> patches (B, N or K, D), and all tokens."""
        features = self.model.forward_features(images)
        return features[:, self.model.num_prefix_tokens :], features

    def latents(self, features: Tensor) -> Tensor:
        """All tokens -> latents (B, latent_dim)."""
        return self.model.forward_head(features)


def load_timm(name: str, part: str | None = None) -> TimmEncoder:
    """A `TimmEncoder` with weights: `NAME[.TAG]` of its release, `NAME@FILE` of a file.

    Args:
        name: see above.
        part: of a file, as `pick`, "target" if unsaid; a release has but one, of I-JEPA "context", of others "target".

    Raises:
        UserError: if timm has no weights for it, or not of this part, they cannot be fetched, or do not fit.
    """
    name, _, file = name.partition("@")
    given = "context" if name.endswith("_ijepa") else "target"
    if not file and part not in (None, given):
        raise UserError(
            f"timm's release of '{name}' has one encoder; got part '{part}', expected none, or {given}; a file has "
            f"others: 'timm:{name}@FILE'"
        )
    encoder = TimmEncoder(name)
    if file:
        key, state = pick(read_weights(Path(file)), part or "target", file)
        _fill(encoder.model, _timm_names(unwrapped(state), encoder.model), file)
        encoder.source = f"{Path(file).name}: {key or 'its only weights'} (for timm's {name})"
    else:
        encoder.model.load_state_dict(_timm_model(name, pretrained=True).state_dict())
        what = "the context encoder, which timm takes" if given == "context" else "the published weights"
        encoder.source = f"timm's {name}: {what}"
    return encoder.eval()


def _timm_model(name: str, pretrained: bool = False) -> Any:
    import timm

    known = timm.list_models() + timm.list_pretrained()
    if name not in known:
        close = [near for near in get_close_matches(name, known, n=50, cutoff=0.5) if _written_in(near)][:3]
        raise UserError(
            f"timm knows no model '{name}'; did you mean {' or '.join(close) or 'one of timm.list_models()'}?"
        )
    if _written_in(name) is None:
        raise UserError(f"timm's '{name}' is no ViT that gives tokens; expected a VisionTransformer or an Eva")
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, dynamic_img_size=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"timm did not give '{name}' ({reason[0]}); fetch it where there is a network, or give a file: "
            f"'timm:{name}@FILE'"
        ) from error


def _written_in(name: str) -> str | None:
    import timm

    module = timm.model_entrypoint(name.partition(".")[0]).__module__.rpartition(".")[2]
    return {"vision_transformer": "VisionTransformer", "deit": "VisionTransformer", "eva": "Eva"}.get(module)


def timm_class(model: Any) -> str | None:
    """Which of timm's two kinds of ViT a model is."""
    names = [cls.__name__ for cls in type(model).__mro__]
    return next((name for name in ("VisionTransformer", "Eva") if name in names), None)


def _timm_preprocessing(model: Any, patch: int) -> Preprocessing:
    from timm.data import resolve_data_config

    config = resolve_data_config({}, model=model)
    crop = 0.0 if config["crop_mode"] == "squash" else config["crop_pct"]
    mode = config["interpolation"] if config["interpolation"] in ("bilinear", "bicubic") else "bicubic"
    size = config["input_size"][-1]
    return Preprocessing(size - size % patch, crop, mode, config["mean"], config["std"])


def _timm_names(state: State, model: Any) -> State:
    """A state by timm's names: its own filter knows the layouts of the models it has taken in."""
    home = "timm.models.eva" if timm_class(model) == "Eva" else "timm.models.vision_transformer"
    return import_module(home).checkpoint_filter_fn(state, model)


def _fill(model: nn.Module, state: State, where: str) -> None:
    """Give a model its weights; classifiers are not asked for."""
    own = model.state_dict()
    missing = sorted(own.keys() - state.keys())
    unknown = sorted(name for name in state.keys() - own.keys() if not name.startswith(("head.", "head_dist.")))
    wrong = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    if missing or unknown or wrong:
        raise UserError(
            f"{where} does not fit {type(model).__name__}: missing {', '.join(missing[:4]) or 'none'}; "
            f"unknown {', '.join(unknown[:4]) or 'none'}; of another shape {', '.join(wrong[:4]) or 'none'}"
        )
    model.load_state_dict({name: state[name] for name in own})
