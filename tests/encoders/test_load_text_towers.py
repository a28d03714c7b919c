"""Text encoders of transformers with random weights, saved in the hub's layout with a tokenizer."""

from pathlib import Path

import pytest
import torch
from torch import nn

from jepa_wm.encoders import HFText, TextAlignment, load_text_tower
from jepa_wm.errors import UserError

transformers = pytest.importorskip("transformers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "red", "door", "is", "left", "of", "room", "far"]
SENTENCES = ["the red door", "a door far left of the red room is the door"]
SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


def bert() -> nn.Module:
    return transformers.BertModel(transformers.BertConfig(**SMALL, vocab_size=len(WORDS)))


def clip_text() -> nn.Module:
    return transformers.CLIPTextModel(transformers.CLIPTextConfig(**SMALL, **SPECIAL))


def clip() -> nn.Module:
    text = transformers.CLIPTextConfig(**SMALL, **SPECIAL).to_dict()
    vision = transformers.CLIPVisionConfig(**SMALL, image_size=16, patch_size=8).to_dict()
    return transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision))


def t5() -> nn.Module:
    sizes = {"d_model": 24, "d_kv": 12, "d_ff": 48, "num_layers": 2, "num_heads": 2}
    return transformers.T5Model(transformers.T5Config(**sizes, vocab_size=len(WORDS), decoder_start_token_id=0))


def siglip(kind: str) -> nn.Module:
    sizes = SMALL | {"max_position_embeddings": 16}
    text = SPECIAL | sizes | {"projection_size": 20}
    vision = SMALL | {"patch_size": 8} | ({"num_patches": 4} if kind == "Siglip2" else {"image_size": 16})
    config = getattr(transformers, f"{kind}Config")(text_config=text, vision_config=vision)
    return getattr(transformers, f"{kind}Model")(config)


SPECIAL = {"vocab_size": len(WORDS), "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
TOWERS = {"bert": bert, "clip_text": clip_text, "clip": clip, "t5": t5}


def saved(model: nn.Module, folder: Path) -> str:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.eval().save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return f"hf:{folder}"


def states(model: nn.Module, sentences: list[str], folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """What the public model says of the sentences, and which of its tokens are padding."""
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(sentences, padding=True, return_tensors="pt")
    tower = getattr(model, "text_model", model)
    tower = tower.get_encoder() if model.config.is_encoder_decoder else tower
    found = tower(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state
    return found, tokens["attention_mask"].bool()


@pytest.mark.parametrize("pool", [None, "mean", "first", "last"])
@pytest.mark.parametrize("kind", TOWERS)
@torch.no_grad()
def test_sentences_are_what_transformers_makes_of_them(kind: str, pool: str | None, tmp_path: Path) -> None:
    model = TOWERS[kind]()
    tower = load_text_tower(saved(model, tmp_path), pool)
    found, mask = states(model, SENTENCES, tmp_path)
    pooled = {"mean": lambda x: x.mean(0), "first": lambda x: x[0], "last": lambda x: x[-1]}[pool or "mean"]
    expected = torch.stack([pooled(row[keep]) for row, keep in zip(found, mask, strict=True)])
    torch.testing.assert_close(tower(SENTENCES), expected, rtol=1e-5, atol=1e-5)
    assert tower.dim == 24 and not tower.training
    assert not torch.allclose(HFText(str(tmp_path), pool).eval()(SENTENCES), expected, atol=1e-2)
    assert TextAlignment(6, tower).text(SENTENCES).shape == (2, 24)


@pytest.mark.parametrize("kind", ["Siglip", "Siglip2"])
@torch.no_grad()
def test_siglips_text_is_what_it_compares_with_images(kind: str, tmp_path: Path) -> None:
    """Padded to the longest, nothing masked, and small letters whatever its tokenizer does."""
    model = siglip(kind)
    tower = load_text_tower(saved(model, tmp_path))
    tower.tokenizer = tokenizer = transformers.BertTokenizer(str(tmp_path / "vocab.txt"), do_lower_case=False)
    tokens = tokenizer(SENTENCES, padding="max_length", max_length=16, return_tensors="pt")["input_ids"]
    expected = model.get_text_features(tokens)
    expected = getattr(expected, "pooler_output", expected)
    torch.testing.assert_close(tower(SENTENCES), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(tower([text.upper() for text in SENTENCES]), expected, rtol=1e-5, atol=1e-5)
    assert torch.isfinite(tower(["the red door " * 10])).all() and tower.dim == expected.shape[1] == 20
    with pytest.raises(UserError, match=r"got 'mean' .* a head of its own; leave it out"):
        HFText(str(tmp_path), "mean")


def test_what_reads_no_text_is_refused(tmp_path: Path) -> None:
    saved(transformers.ViTModel(transformers.ViTConfig(**SMALL, image_size=16, patch_size=8)), tmp_path)
    with pytest.raises(UserError, match="is a ViTModel, which reads no text; expected a text encoder"):
        load_text_tower(f"hf:{tmp_path}")


@pytest.mark.parametrize("width", ["25", '"wide"'])
def test_whatever_transformers_raises_of_a_model_is_told(width: str, tmp_path: Path) -> None:
    saved(bert(), tmp_path)
    (tmp_path / "config.json").write_text(f'{{"model_type": "bert", "hidden_size": {width}}}')
    with pytest.raises(UserError, match="cannot read"):
        load_text_tower(f"hf:{tmp_path}")


def test_what_names_no_tower_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names no text tower"):
        load_text_tower("timm:vit")
    with pytest.raises(UserError, match="cannot read"):
        load_text_tower(f"hf:{tmp_path}")
    saved(bert(), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot read the weights"):
        load_text_tower(f"hf:{tmp_path}")
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot read the weights"):
        load_text_tower(f"hf:{tmp_path}")
