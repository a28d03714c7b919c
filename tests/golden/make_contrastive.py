"""Golden numbers of CLIP and SigLIP: the whole model and both losses of mlfoundations/open_clip, in float64.

It builds a small CustomTextCLIP (open_clip's own vision and text transformers, without the layer norm before the
blocks of the first), fills it by formula, and does what its trainer's step does: unit vectors of pictures and of
sentences, and ClipLoss or SigLipLoss of them; then the gradients.
"""

import math
import sys

from formula import checks, normalised, pixels, rounded
from reference import gradient_norms, how, set_parameters, source, write

BATCH, SIDE = 5, 24
VISION = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": SIDE, "no_ln_pre": True}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 2}
EMBED = 16
SENTENCES = [
    "the left room",
    "a red disc in the right room",
    "top",
    "the agent stands still",
    "a sentence of more tokens than there are places for, which is cut",
]
LOGITS = {
    "clip": {"init_logit_scale": math.log(1 / 0.07)},
    "siglip": {"init_logit_scale": math.log(10.0), "init_logit_bias": -10.0},
}


def main() -> None:
    folder = source(__doc__)
    sys.path.insert(0, str(folder / "src"))
    sys.path.insert(0, str(folder / "src"))
    from open_clip.loss import ClipLoss, SigLipLoss
    from open_clip.model import CustomTextCLIP
    from open_clip.tokenizer import SimpleTokenizer

    images = normalised(pixels("contrastive.images", (BATCH, 3, SIDE, SIDE)))
    tokens = SimpleTokenizer(context_length=TEXT["context_length"])(SENTENCES)
    numbers = {}
    for name, loss in (("clip", ClipLoss()), ("siglip", SigLipLoss())):
        model = CustomTextCLIP(EMBED, dict(VISION), dict(TEXT), output_dict=True, **LOGITS[name])
        parameters = {part: set_parameters(getattr(model, part), f"{part}.") for part in ("visual", "text")}
        model.double()
        out = model(images, tokens)
        value = loss(**out)
        value.backward()
        numbers[name] = {
            "image_features": checks("image_features", out["image_features"]),
            "text_features": checks("text_features", out["text_features"]),
            "loss": rounded(value),
            "gradient_norms": gradient_norms(model),
        }

    record = how(
        folder,
        "mlfoundations/open_clip",
        """Parameters of the towers by formula, named visual.… and text.…; logit_scale and logit_bias as in config.
        images: pixels by formula, minus ImageNet's mean, over its deviation. Both losses of one process.""",
    )
    config = {"embed_dim": EMBED, "vision": VISION, "text": TEXT, "logits": LOGITS}
    inputs = {
        "images": {"pixels": "contrastive.images", "shape": [BATCH, 3, SIDE, SIDE]},
        "sentences": SENTENCES,
        "tokens": tokens.tolist(),
    }
    content = {"how": record, "config": config, "parameters": parameters, "inputs": inputs, "numbers": numbers}
    write("contrastive", content)


if __name__ == "__main__":
    main()
