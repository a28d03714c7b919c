"""Sources: each name leads to what it says, and each layer is what the network has there, by its own or other means."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip import factory
from torch import Tensor, nn

from jepa_wm.checkpoint import save_modules
from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.encoders import (
    AttentionPool,
    ClipText,
    GridPool,
    MeanPool,
    OpenClipEncoder,
    PatchFrames,
    Rope,
    StateFrames,
    TextAlignment,
    TimmEncoder,
    ViT,
)
from jepa_wm.errors import UserError
from jepa_wm.manifest import write_manifest
from jepa_wm.world_model import WorldModel
from probes.features import Rows, read_splits
from probes.levels import Readout
from probes.readers import EncoderReader, Reader, TextReader, WorldReader
from probes.sources import find_sources, fingerprint


@pytest.fixture(scope="module")
def rows(collection: Path) -> Rows:
    return read_splits(str(collection), 6, 0)["train"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints of two steps, an encoder and a teacher that differ, text and dynamics."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    torch.manual_seed(0)
    for place in ("checkpoints/step-000010", "checkpoints/step-000200", "model"):
        parts = {"encoder": vit(GridPool(16)), "teacher": vit(GridPool(16)), "text": text(), "dynamics": dynamics(16)}
        save_modules(folder / place, parts)
    write_manifest(folder, "forecast", config={})
    return folder


def vit(pooling: Any, **options: Any) -> ViT:
    return ViT(patch=8, dim=24, depth=4, heads=2, prefix=2, pooling=pooling, **options).eval()


def text() -> TextAlignment:
    return TextAlignment(16, ClipText(12, 16, 3, 2))


def dynamics(width: int) -> TransformerDynamics:
    return TransformerDynamics(latent_dim=width, trunk=Trunk(32, 1, 2))


@torch.no_grad()
def read(reader: Reader, rows: Rows, *poolings: str, layers: list[str] | None = None) -> dict[tuple[str, str], Tensor]:
    readout = Readout(poolings or ("mean", "class", "tokens"), layers)
    reader(rows, readout)
    return readout.found


class TestLayersByHand:
    @torch.no_grad()
    @pytest.mark.parametrize("positions", [None, Rope()], ids=["table", "rope"])
    def test_of_our_own_encoder(self, rows: Rows, positions: Any) -> None:
        torch.manual_seed(1)
        encoder = vit(MeanPool(), positions=positions)
        found = read(EncoderReader(encoder, resize=False), rows)
        # The first i blocks alone, as an encoder that ends there and has no norm.
        norm, blocks = encoder.norm, list(encoder.blocks)
        encoder.norm = nn.Identity()
        encoder.norm.weight = norm.weight
        for depth, layer in enumerate(["embed", "0", "1", "2", "3"]):
            encoder.blocks = type(encoder.blocks)(24, 0, 2, encoder.block)
            encoder.blocks.extend(blocks[:depth])
            prefix, patches, _ = encoder.encode(rows.pixels)
            torch.testing.assert_close(found[layer, "tokens"], patches)
            torch.testing.assert_close(found[layer, "mean"], patches.mean(dim=1))
            torch.testing.assert_close(found[layer, "class"], prefix[:, 0])
        assert {layer for layer, _ in found} == {"embed", "0", "1", "2", "3", "latent"}
        torch.testing.assert_close(found["latent", "vector"], norm(found["3", "tokens"]).mean(dim=1))

    @torch.no_grad()
    @pytest.mark.parametrize("pooling", [MeanPool(), AttentionPool(heads=2), GridPool(8)])
    def test_the_latent_is_the_encoder_s_own_pooling_of_the_last_layer(self, rows: Rows, pooling: Any) -> None:
        encoder = vit(pooling)
        found = read(EncoderReader(encoder, resize=False), rows)
        last = encoder.norm(found["3", "tokens"])
        torch.testing.assert_close(found["latent", "vector"], encoder.pool(None, last, encoder.grid_of(rows.pixels)))
        assert torch.equal(found["latent", "vector"], encoder.pooled(rows.pixels))

    @torch.no_grad()
    @pytest.mark.parametrize(
        "name", ["vit_tiny_patch16_224", "eva02_tiny_patch14_224", "vit_small_patch14_reg4_dinov2"]
    )
    def test_of_timm(self, rows: Rows, name: str) -> None:
        encoder = TimmEncoder(name).eval()
        encoder.preprocessing.size = 56 if "14" in name else 64
        some = rows.take(torch.arange(2))
        found = read(EncoderReader(encoder, resize=True), some)
        images = encoder._images(encoder.preprocessing(some.pixels))
        expected = encoder.model.forward_intermediates(
            images, return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
        )
        assert len(expected) == len(encoder.model.blocks) == sum(pooling == "mean" for _, pooling in found) - 1
        for layer, (patches, prefix) in enumerate(expected):
            torch.testing.assert_close(found[str(layer), "tokens"], patches)
            torch.testing.assert_close(found[str(layer), "class"], prefix[:, 0])
        torch.testing.assert_close(found["latent", "vector"], encoder.model(images))

    @torch.no_grad()
    @pytest.mark.parametrize("name", ["tiny-clip", "tiny-timm"])
    @pytest.mark.usefixtures("_open_clip_configs")
    def test_of_open_clip(self, rows: Rows, name: str) -> None:
        encoder = OpenClipEncoder(name).eval()
        some = rows.take(torch.arange(2))
        found = read(EncoderReader(encoder, resize=True), some)
        images = encoder._images(encoder.preprocessing(some.pixels))
        trunk = getattr(encoder.visual, "trunk", None)
        if trunk is None:
            out = encoder.visual.forward_intermediates(
                images, normalize_intermediates=False, output_fmt="NLC", output_extra_tokens=True
            )
            expected = list(zip(out["image_intermediates"], out["image_intermediates_prefix"], strict=True))
        else:
            expected = trunk.forward_intermediates(
                images, return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
            )
        assert len(expected) == sum(pooling == "mean" for _, pooling in found) - 1
        for layer, (patches, prefix) in enumerate(expected):
            torch.testing.assert_close(found[str(layer), "tokens"], patches)
            torch.testing.assert_close(found[str(layer), "class"], prefix[:, 0])
        torch.testing.assert_close(found["latent", "vector"], encoder.visual(images))

    @torch.no_grad()
    def test_of_a_text_tower_padding_does_not_count(self, rows: Rows) -> None:
        alignment = text().eval()
        # "!" is the token 0, which pads, too.
        some = rows.take(torch.arange(3))._replace(captions=["left !~ of the door", "far", "a small red disc stands"])
        found = read(TextReader(alignment, "here"), some)
        for i, sentence in enumerate(some.captions):
            tokens = open_clip.tokenize([sentence], context_length=24)
            length = int(tokens[0].argmax()) + 1
            assert (tokens[0, :length] == 0).any() == (i == 0)
            tower = alignment.tower.tower
            expected = tower.forward_intermediates(tokens, output_fmt="NLC")["text_intermediates"]
            assert {layer for layer, _ in found} == {"embed", "0", "1", "2", "latent"}
            for layer, states in enumerate(expected):
                torch.testing.assert_close(found[str(layer), "mean"][i], states[0, :length].mean(dim=0))
        torch.testing.assert_close(found["latent", "vector"], alignment.text(some.captions))
        assert not {pooling for _, pooling in found} - {"mean", "vector"}

    @torch.no_grad()
    def test_of_a_world_model(self, rows: Rows) -> None:
        pooled = WorldModel(vit(GridPool(16)), dynamics(16)).eval()
        found = read(WorldReader(pooled), rows, "mean")
        assert torch.equal(found["latent", "vector"], pooled.encode(rows.pixels[:, None])[:, 0, 0])
        frames = StateFrames(PatchFrames(), rows.state.shape[1])
        felt = WorldModel(vit(MeanPool()), dynamics(34), frames=frames).eval()
        found = read(WorldReader(felt), rows)
        latents = felt.encode(rows.pixels[:, None], rows.state[:, None])[:, 0]
        assert latents.shape[1:] == (16, 34)
        assert torch.equal(found["latent", "tokens"], latents) and ("latent", "class") not in found
        torch.testing.assert_close(found["latent", "mean"], latents.mean(dim=1))
        assert torch.equal(found["1", "mean"], read(EncoderReader(felt.encoder, False), rows)["1", "mean"])


@pytest.mark.parametrize("kind", ["bert", "t5"])
@torch.no_grad()
def test_text_towers_of_the_hub(rows: Rows, tmp_path: Path, kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({w for c in rows.captions for w in c.split()})]
    if kind == "bert":
        sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
        model = transformers.BertModel(transformers.BertConfig(**sizes, vocab_size=len(words)))
    else:
        sizes = {"d_model": 24, "d_kv": 12, "d_ff": 48, "num_layers": 2, "num_heads": 2}
        model = transformers.T5Model(transformers.T5Config(**sizes, vocab_size=len(words), decoder_start_token_id=0))
    model.eval().save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizer(str(tmp_path / "vocab.txt"))
    tokenizer.save_pretrained(tmp_path)
    [source] = find_sources(f"hf:{tmp_path}:text")
    some = rows.take(torch.arange(3))._replace(captions=[rows.captions[0], "the", "the disc the disc the disc"])
    found = read(source.load(), some, "mean")
    tokens = tokenizer(some.captions, padding=True, return_tensors="pt")
    tower = model.get_encoder() if kind == "t5" else model
    states = tower(
        input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], output_hidden_states=True
    ).hidden_states
    mask = tokens["attention_mask"][..., None]
    # The last of T5's hidden states is normed, which no block's is.
    for layer, state in zip(["embed", "0", "1"], states[:2] if kind == "t5" else states, strict=kind == "bert"):
        torch.testing.assert_close(found[layer, "mean"], (state * mask).sum(dim=1) / mask.sum(dim=1))


@pytest.fixture
def _open_clip_configs(tmp_path: Path) -> Any:
    small = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "layers": 3, "width": 64, "head_width": 32, "patch_size": 8}
    timm = {"image_size": 224, "timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "avg"}
    for name, config in (("tiny-clip", vision), ("tiny-timm", timm | {"timm_proj": "linear"})):
        config = {"embed_dim": 24, "text_cfg": small, "vision_cfg": config}
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    yield
    factory._MODEL_CONFIG_PATHS.remove(tmp_path)
    for name in ("tiny-clip", "tiny-timm"):
        factory._MODEL_CONFIGS.pop(name)


class TestNames:
    def test_state_and_pixels(self, rows: Rows) -> None:
        [state], [pixels] = find_sources("state"), find_sources("pixels")
        assert torch.equal(read(state.load(), rows)["latent", "vector"], rows.state)
        [factors] = find_sources("factors")
        known = read(factors.load(), rows)["latent", "vector"]
        columns = [rows.state, *(rows.factors[name] for name in rows.factors)]
        assert torch.equal(known, torch.cat(columns, dim=1)) and known.shape[1] > rows.state.shape[1]
        found = read(pixels.load(), rows)["latent", "vector"]
        assert found.dtype == torch.float32 and torch.equal(found.view_as(rows.pixels), rows.pixels.float())

    def test_the_parts_of_a_run_are_distinct(self, run: Path, rows: Rows) -> None:
        latents = {
            part: read(find_sources(f"{run}{part}")[0].load(), rows)["latent", "vector"]
            for part in ("", "@encoder", "@context", "@teacher", "@target")
        }
        assert torch.equal(latents[""], latents["@encoder"]) and torch.equal(latents[""], latents["@context"])
        assert torch.equal(latents["@teacher"], latents["@target"])
        assert not torch.allclose(latents[""], latents["@teacher"], atol=1e-3)

    def test_all_steps_of_a_run_are_one_model(self, run: Path, rows: Rows) -> None:
        starred, said = find_sources(f"{run}@*"), find_sources(f"{run}/", "all")
        assert starred == said
        assert [(source.model, source.step) for source in starred] == [(str(run), 10), (str(run), 200)]
        assert [source.step for source in find_sources(f"{run}:text", "all")] == [10, 200]
        assert [source.step for source in find_sources(f"{run}@teacher", "all")] == [10, 200]
        latents = [read(source.load(), rows)["latent", "vector"] for source in [*starred, *find_sources(str(run))]]
        assert len({float(latent.sum()) for latent in latents}) == 3

    def test_steps_are_asked_of_runs_alone(self) -> None:
        assert [source.step for name in ("state", "timm:vit_x", "pixels") for source in find_sources(name, "all")] == [
            None
        ] * 3

    def test_text_and_world_of_a_run(self, run: Path, rows: Rows) -> None:
        model = WorldModel.from_pretrained(run)
        with torch.no_grad():
            assert torch.equal(
                read(find_sources(f"{run}:world")[0].load(), rows)["latent", "vector"],
                model.encode(rows.pixels[:, None])[:, 0, 0],
            )
            assert torch.equal(
                read(find_sources(f"{run}:text")[0].load(), rows)["latent", "vector"], model.text.text(rows.captions)
            )

    @pytest.mark.parametrize("suffix", ["", "@teacher", ":text", ":world"])
    def test_fresh_weights_are_a_function_of_the_seed(self, run: Path, rows: Rows, suffix: str) -> None:
        name, before = f"random:{run}{suffix}", torch.get_rng_state()
        found = []
        for seed in (0, 0, 1):
            [source] = find_sources(name, "all", seed)
            assert (source.model, source.step) == (name, None)
            found.append(read(source.load(), rows)["latent", "vector"])
        trained = read(find_sources(f"{run}{suffix}")[0].load(), rows)["latent", "vector"]
        assert torch.equal(found[0], found[1]) and torch.equal(torch.get_rng_state(), before)
        for other in (found[2], trained):
            assert other.shape == found[0].shape and not torch.allclose(found[0], other, atol=1e-3)

    def test_fresh_weights_keep_the_data_s_statistics(self, tmp_path: Path, rows: Rows) -> None:
        frames = StateFrames(PatchFrames(), rows.state.shape[1])
        frames.prepare({"state_mean": rows.state.mean(dim=0).tolist(), "state_std": rows.state.std(dim=0).tolist()})
        WorldModel(vit(MeanPool()), dynamics(34), frames=frames).save_pretrained(tmp_path / "model")
        [source] = find_sources(f"random:{tmp_path}:world")
        _, fresh = source.load().parts
        assert torch.equal(fresh.standard.mean, frames.standard.mean)
        assert torch.equal(fresh.standard.std, frames.standard.std)
        assert not torch.equal(fresh.embed.weight, frames.embed.weight)

    def test_fresh_weights_of_a_zoo_need_no_download(self, rows: Rows) -> None:
        [source] = find_sources("random:timm:test_vit")
        again = find_sources("random:timm:test_vit")[0]
        one, other = (read(each.load(), rows.take(torch.arange(1)))["latent", "vector"] for each in (source, again))
        assert torch.equal(one, other)

    def test_captions_that_are_equal_are_read_once(self, run: Path, rows: Rows) -> None:
        reader = find_sources(f"{run}:text")[0].load()
        repeated = rows.take(torch.arange(4))._replace(captions=["b", "a", "b", "c"])
        which, own = reader.distinct(repeated)
        # Of each, in their order, the row in which it comes first.
        assert which.tolist() == [1, 0, 3]
        assert own.tolist() == [1, 0, 1, 2]

    def test_what_made_features_is_told_apart(self, run: Path) -> None:
        def print_of(name: str, seed: int = 0) -> str:
            [source] = find_sources(name, seed=seed)
            return fingerprint(source, source.load())

        names = [str(run), f"{run}@teacher", f"{run}:text", f"random:{run}", "state", "pixels"]
        assert len({print_of(name) for name in names}) == len(names)
        assert print_of(str(run)) == print_of(str(run)) != print_of(f"random:{run}")
        assert print_of(f"random:{run}", 0) != print_of(f"random:{run}", 1)

    def test_a_configuration_without_weights_counts_too(self) -> None:
        torch.manual_seed(0)
        one = vit(MeanPool())
        torch.manual_seed(0)
        other = vit(MeanPool(), positions=Rope())
        other.load_state_dict(one.state_dict())
        [source] = find_sources("timm:any")
        assert fingerprint(source, EncoderReader(one, False)) != fingerprint(source, EncoderReader(other, False))


class TestBadNames:
    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("stat", "names no file, folder or kind of source; did you mean 'state'"),
            ("pixel", "did you mean 'pixels'"),
            ("tim:vit_tiny", "did you mean 'timm'"),
            ("ramdom:runs/x", "did you mean 'random'"),
            ("random:runs/none", "'random:runs/none' names no file"),
            ("", "names no file"),
            ("random:", "names no file"),
            ("timm:", "lacks a name"),
            ("timm:vit_tiny:text", "timm has no text towers"),
            ("hf:a/b:world", "hf has no world models"),
        ],
    )
    def test_an_unknown_one(self, name: str, why: str) -> None:
        with pytest.raises(UserError, match=why.replace("(", r"\(")):
            find_sources(name)

    def test_what_a_run_does_not_have(self, run: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="expected one of them"):
            find_sources(f"{run}@teacher:text")
        with pytest.raises(UserError, match="fresh weights have no steps"):
            find_sources(f"random:{run}@*")
        with pytest.raises(UserError, match="is no run of this package"):
            find_sources(f"{tmp_path}:text")
        with pytest.raises(UserError, match="holds no 'reacher'"):
            find_sources(f"{run}@reacher")[0].load()

    def test_a_run_without_checkpoints_has_no_steps(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "model").symlink_to(run / "model")
        with pytest.raises(UserError, match="unfinished"):
            find_sources(f"{tmp_path}@*")
        write_manifest(tmp_path, "pretrain", config={})
        with pytest.raises(UserError, match="holds no checkpoint"):
            find_sources(f"{tmp_path}@*")

    def test_pixels_that_are_too_many(self, rows: Rows) -> None:
        large = rows._replace(pixels=torch.zeros(6, 3, 224, 224, dtype=torch.uint8))
        with pytest.raises(UserError, match="150528 numbers; expected 65536 or less"):
            read(find_sources("pixels")[0].load(), large)

    def test_no_captions(self, run: Path, rows: Rows) -> None:
        with pytest.raises(UserError, match="6 of 6 samples have no caption"):
            find_sources(f"{run}:text")[0].load().distinct(rows._replace(captions=[""] * 6))
        with pytest.raises(UserError, match="1 of 6 samples have no caption"):
            find_sources(f"{run}:text")[0].load().distinct(rows._replace(captions=[" ", *rows.captions[1:]]))
