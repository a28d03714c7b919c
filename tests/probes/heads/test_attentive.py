import pytest
import torch
from formula import formula, tensor

from jepa_wm.errors import UserError
from probes.heads.attentive import Attentive, AttentiveHead, _train, attentive_probe
from probes.heads.logistic import GRID, logistic_probe

# V-JEPA 2's AttentiveClassifier (official code, commit c2963a4) of width 16 with 4 heads and 3 classes, float64, by
# depth: its parameters by `formula` from their names, on tensor("tokens", (2, 5, 16)).
REFERENCE = {
    1: [
        [0.03671042354408235, -0.6696042117857082, 1.0528204622419475],
        [0.24085416979194937, -0.44076052923339337, 0.7767493269272578],
    ],
    3: [
        [-0.6034565804925797, -1.0515720468862055, 1.5712221796962758],
        [0.7047991770067796, -1.2122009046840552, 1.1601274356406606],
    ],
}
SHORT = Attentive(depth=1, heads=2, rates=(1e-2, 3e-3), decays=(0.01,), epochs=15, batch=64, seeds=(0,))


def reference_name(name):
    if name == "query":
        return "pooler.query_tokens"
    if name.startswith("blocks."):
        return f"pooler.{name}"
    if name.startswith("logits."):
        return name.replace("logits", "linear")
    attention = "xattn." if name.startswith(("q.", "kv.")) else ""
    return f"pooler.cross_attention_block.{attention}{name}"


@pytest.mark.parametrize("depth", REFERENCE)
def test_logits_are_the_references(depth):
    head = AttentiveHead(16, 3, depth, heads=4).double()
    head.load_state_dict({name: formula(reference_name(name), part.shape) for name, part in head.state_dict().items()})
    logits = head(tensor("tokens", (2, 5, 16)))
    torch.testing.assert_close(logits, torch.tensor(REFERENCE[depth], dtype=torch.float64), atol=1e-10, rtol=0)


def test_first_weights_are_the_references_kind():
    torch.manual_seed(0)
    head = AttentiveHead(128, 10, depth=4, heads=4)
    last = [*(block.mlp.fc2.weight.std() * (2 * i) ** 0.5 for i, block in enumerate(head.blocks, 1))]
    last += [head.mlp.fc2.weight.std() * 6**0.5, head.q.weight.std(), head.query.std()]
    assert [value.item() for value in last] == pytest.approx([0.02] * 6, rel=0.2)
    assert not any(part.any() for name, part in head.named_parameters() if name.endswith("bias"))


def needle(seed, n):
    """Six tokens, each of which shows a class; the label is the one that the marked token shows."""
    generator = torch.Generator().manual_seed(seed)
    shown = torch.randint(3, (n, 6), generator=generator)
    tokens = 0.1 * torch.randn(n, 6, 8, generator=generator)
    tokens[..., :3] += torch.nn.functional.one_hot(shown, 3)
    place = torch.randint(6, (n,), generator=generator)
    tokens[torch.arange(n), place, 3] += 1
    return tokens, shown[torch.arange(n), place]


def test_it_finds_the_token_that_a_mean_drowns():
    splits = [needle(seed, n) for seed, n in enumerate((512, 128, 200))]
    found = attentive_probe(*splits, recipe=SHORT)
    pooled = logistic_probe(*((x.mean(dim=1), y) for x, y in splits), c=GRID[::6])
    assert found.score.value > 0.95 and pooled.score.value < 0.75
    shuffled = [(x, y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]) for x, y in splits]
    blind = attentive_probe(*shuffled, recipe=SHORT._replace(epochs=3)).score
    assert blind.value <= blind.null + 4 * (0.25 / 200) ** 0.5


def test_each_head_is_the_head_alone():
    x, y = needle(0, 96)
    recipe = SHORT._replace(rates=(1e-2, 1e-3), decays=(0.0, 0.5), epochs=2, batch=32)
    together = _train(x, y, 3, recipe, seed=4)
    alone = _train(x, y, 3, recipe._replace(rates=(1e-3,), decays=(0.5,)), seed=4)[0]
    for part, own in zip(together[3].parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(part, own, atol=1e-6, rtol=0)
    # Decay pulls on every weight, and the four differ.
    norms = [sum(part.square().sum() for part in head.parameters()).item() for head in together]
    assert norms[1] < norms[0] and norms[3] < norms[2] and len(set(norms)) == 4


def test_tokens_must_fit():
    splits = [needle(seed, 30) for seed in range(3)]
    with pytest.raises(UserError, match="heads that divide the width"):
        attentive_probe(*splits, recipe=SHORT._replace(heads=3))
    with pytest.raises(UserError, match=r"expected \(n, N, D\) with the same"):
        attentive_probe(splits[0], splits[1], (splits[2][0].mean(dim=1), splits[2][1]), recipe=SHORT)
