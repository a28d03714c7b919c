"""The vision towers of open_clip."""

from typing import Any

from torch import Tensor

from jepa_wm.encoders.adapters import Adapter, Keep
from jepa_wm.encoders.open_clip_text import OpenClipText, check_name, open_clip_model
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.timm_encoder import timm_class
from jepa_wm.errors import UserError


class OpenClipEncoder(Adapter):
    """Any vision tower of open_clip that is a ViT, its own or timm's; latents are in the space of the text tower.

    Without weights by itself. Its own ViTs take one size of picture.

    Args:
        name: as open_clip calls the model, "ViT-B-16-SigLIP2" for one.
        tag: of the weights that it is for; decides the preprocessing, and which GELU.

    Raises:
        UserError: if open_clip knows no such model, or its tower is no ViT.
    """

    def __init__(self, name: str, tag: str = "") -> None:
        model = open_clip_model(name, tag)
        visual: Any = model.visual
        trunk: Any = getattr(visual, "trunk", None)
        own = trunk is None and hasattr(visual, "patch_dropout")
        if not own and timm_class(trunk) not in ("VisionTransformer", "Eva"):
            raise UserError(f"the tower of open_clip's '{name}' is a {type(trunk or visual).__name__}; expected a ViT")
        if own:
            keep = visual.patch_dropout = Keep(1)
            dim, patch, latent_dim = visual.conv1.out_channels, visual.patch_size[0], visual.proj.shape[1]
        else:
            keep = trunk.patch_drop = Keep(trunk.num_prefix_tokens, tells=timm_class(trunk) == "Eva")
            dim, patch, latent_dim = trunk.embed_dim, trunk.patch_embed.patch_size[0], model.text.output_dim
        super().__init__(dim, latent_dim, patch, _open_clip_preprocessing(visual.preprocess_cfg, patch), keep)
        self.name, self.tag, self.visual = name, tag, visual

    def tokens(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images (B, C, H, W) -> patches (B, N or K, D), and all tokens."""
        visual = self.visual
        if tuple(images.shape[-2:]) != tuple(visual.image_size):
            got = tuple(images.shape[-2:])
            raise UserError(f"OpenClipEncoder: got {got} pixels; '{self.name}' takes {visual.image_size} and no other")
        if hasattr(visual, "trunk"):
            features = visual.trunk.forward_features(images)
            return features[:, visual.trunk.num_prefix_tokens :], features
        features = visual.transformer(visual._embeds(images))
        plain = visual.attn_pool is not None or visual.final_ln_after_pool
        return (features if plain else visual.ln_post(features))[:, 1:], features

    def latents(self, features: Tensor) -> Tensor:
        """All tokens -> latents (B, latent_dim)."""
        if hasattr(self.visual, "trunk"):
            return self.visual.head(self.visual.trunk.forward_head(features))
        return self.visual._pool(features)[0] @ self.visual.proj


def load_open_clip(name: str) -> OpenClipEncoder:
    """An `OpenClipEncoder` with weights: `NAME:TAG`, `NAME` where there is one tag only, `NAME[:TAG]@FILE`.

    Raises:
        UserError: if open_clip has no such weights, they cannot be fetched, or do not fit.
    """
    name, tag, file = _open_clip_name(name)
    encoder = OpenClipEncoder(name, tag)
    encoder.visual.load_state_dict(open_clip_model(name, tag, file or tag).visual.state_dict())
    encoder.source = f"open_clip's {name}: the image tower of {file or tag}"
    return encoder.eval()


def load_open_clip_text(name: str) -> OpenClipText:
    """An `OpenClipText` with weights, named as for `load_open_clip`.

    Raises:
        UserError: if open_clip has no such weights, they cannot be fetched, or do not fit.
    """
    name, tag, file = _open_clip_name(name)
    tower = OpenClipText(name, tag)
    tower.tower.load_state_dict(open_clip_model(name, tag, file or tag).text.state_dict())
    return tower.eval()


def _open_clip_name(name: str) -> tuple[str, str, str]:
    """`NAME[:TAG][@FILE]` in its parts; the tag may be left out where there is one, or a file."""
    import open_clip

    name, _, file = name.partition("@")
    name, _, tag = name.partition(":")
    check_name(name)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag and tag not in tags:
        raise UserError(f"open_clip has no weights '{tag}' for '{name}'; it has {', '.join(tags) or 'none'}")
    if not tag and not file and len(tags) != 1:
        raise UserError(f"say which weights: 'open_clip:{name}:TAG', TAG one of {', '.join(tags) or '(none known)'}")
    return name, tag or (tags[0] if not file else ""), file


def _open_clip_preprocessing(config: dict[str, Any], patch: int) -> Preprocessing:
    size = config["size"] if isinstance(config["size"], int) else config["size"][0]
    crop = 0.0 if config["resize_mode"] == "squash" else 1.0
    return Preprocessing(size, crop, config["interpolation"], config["mean"], config["std"])
