"""Pixels and text to latents."""

from jepa_wm.encoders.load import load_encoder, load_text
from jepa_wm.encoders.text import TextAlignment
from jepa_wm.encoders.vit import ViT, encode_frames

__all__ = ["TextAlignment", "ViT", "encode_frames", "load_encoder", "load_text"]
