"""Pixels and text to latents."""

from jepa_wm.encoders.blocks import BlockOptions
from jepa_wm.encoders.frames import Frames, PatchFrames, PooledFrames, StateFrames, StateToken
from jepa_wm.encoders.hf_text import HFText
from jepa_wm.encoders.load import load_encoder, load_text, load_text_tower
from jepa_wm.encoders.open_clip_encoder import OpenClipEncoder
from jepa_wm.encoders.open_clip_text import OpenClipText
from jepa_wm.encoders.pooling import AttentionPool, ClassPool, GridPool, MeanPool, ProjectedPool
from jepa_wm.encoders.positions import CentredRope, Learned, Rope, SinCos
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.sizes import vit
from jepa_wm.encoders.stem import ConvStem
from jepa_wm.encoders.text import ClipText, TextAlignment
from jepa_wm.encoders.timm_encoder import TimmEncoder
from jepa_wm.encoders.vit import ViT

__all__ = [
    "AttentionPool",
    "BlockOptions",
    "CentredRope",
    "ClassPool",
    "ClipText",
    "ConvStem",
    "Frames",
    "GridPool",
    "HFText",
    "Learned",
    "MeanPool",
    "OpenClipEncoder",
    "OpenClipText",
    "PatchFrames",
    "PooledFrames",
    "Preprocessing",
    "ProjectedPool",
    "Rope",
    "SinCos",
    "StateFrames",
    "StateToken",
    "TextAlignment",
    "TimmEncoder",
    "ViT",
    "load_encoder",
    "load_text",
    "load_text_tower",
    "vit",
]
