"""Text encoders of the Hugging Face hub."""

from typing import Any

import torch
from torch import Tensor, nn

from jepa_wm.encoders.text import TextTower
from jepa_wm.errors import UserError

POOLS = ("mean", "first", "last")

SIGLIP = {"siglip_text_model": "SiglipTextModel", "siglip2_text_model": "Siglip2TextModel"}
"""Classes of transformers by the type of their config, for its AutoModel does not know these."""


class HFText(TextTower):
    """Any text encoder of the Hugging Face hub, with its own tokenizer; without weights by itself.

    SigLIP's and SigLIP 2's give what is compared with images: sentences in small letters, padded to the longest, all of
    it read, the last token through their head. CLIP's is read without its projection, for the images that it is
    compared with are not read from the hub; as `open_clip:NAME` both are in one space.

    Args:
        name: of the model on the hub, or the folder that holds it, with its tokenizer.
        pool: "mean" of the tokens, "first" or "last" of them; unsaid "mean", but of SigLIP its own, and nothing else.

    Raises:
        UserError: if transformers is not installed, `pool` is unknown or not for this model, or there is no such model.
    """

    def __init__(self, name: str, pool: str | None = None) -> None:
        super().__init__()
        from jepa_wm.encoders.hub import transformers

        if pool not in (None, *POOLS):
            raise UserError(f"HFText.pool: got '{pool}'; expected 'mean', 'first' or 'last'")
        self.name, self.pool = name, pool
        library = transformers()
        try:
            config = library.AutoConfig.from_pretrained(name)
            config = getattr(config, "text_config", config)
            self.tokenizer = library.AutoTokenizer.from_pretrained(name)
            siglip = SIGLIP.get(config.model_type)
            model = getattr(library, siglip)(config) if siglip else library.AutoModel.from_config(config)
            self.dim: int = config.projection_size if siglip else model.config.hidden_size
        except Exception as error:  # what transformers raises of a folder is anyone's guess
            raise UserError(f"HFText: cannot read '{name}': {error}") from error
        if model.main_input_name != "input_ids":
            raise UserError(
                f"HFText: '{name}' is a {type(model).__name__}, which reads no text; expected a text encoder"
            )
        if siglip and pool:
            raise UserError(
                f"HFText.pool: got '{pool}' for '{name}', a SigLIP, which has a head of its own; leave it out"
            )
        self._kind, self._config, self._siglip = type(model), model.config, bool(siglip)
        self.tower = _reader(model)

    def load_weights(self) -> None:
        """Take in the weights that were published under its name.

        Raises:
            UserError: if they cannot be read, or some are missing.
        """
        try:
            model, report = self._kind.from_pretrained(
                self.name, config=self._config, output_loading_info=True, use_safetensors=True
            )
        except Exception as error:  # as above
            raise UserError(f"HFText: cannot read the weights of '{self.name}': {error}") from error
        missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
        if missing:
            raise UserError(
                f"HFText: '{self.name}' lacks {len(missing)} tensors of its kind, {', '.join(missing[:5])} among them; "
                "expected the weights of a whole text encoder"
            )
        self.tower.load_state_dict(_reader(model).state_dict())

    def forward(self, sentences: list[str]) -> Tensor:
        device = next(self.tower.parameters()).device
        if self._siglip:
            return self.tower(self._padded(sentences).to(device)).pooler_output
        tokens = self.tokenizer(sentences, padding=True, truncation=True, return_tensors="pt").to(device)
        states, mask = self.tower(**tokens).last_hidden_state, tokens["attention_mask"][..., None]
        if self.pool in (None, "mean"):
            return (states * mask).sum(dim=1) / mask.sum(dim=1)
        if self.pool == "first":
            return states[:, 0]
        places = torch.arange(states.shape[1], device=states.device)[:, None] * mask
        return states[torch.arange(len(states)), places.amax(dim=(1, 2))]

    def _padded(self, sentences: list[str]) -> Tensor:
        """Sentences -> tokens as SigLIP was trained on: in small letters, and as many of each as it has positions."""
        most = self._config.max_position_embeddings
        small = [sentence.lower() for sentence in sentences]
        tokens = self.tokenizer(small, padding="max_length", max_length=most, truncation=True, return_tensors="pt")
        return tokens["input_ids"]


def _reader(model: Any) -> nn.Module:
    """The half of a model that reads; of most it is the whole."""
    return model.get_encoder() if model.config.is_encoder_decoder else model
