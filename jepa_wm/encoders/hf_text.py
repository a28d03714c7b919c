"""Text encoders of the Hugging Face hub."""

from typing import Any

import torch
from torch import Tensor, nn

from jepa_wm.encoders.text import TextTower
from jepa_wm.errors import UserError


class HFText(TextTower):
    """Any text encoder of the Hugging Face hub, with its own tokenizer; without weights by itself.

    Args:
        name: of the model on the hub, or the folder that holds it, with its tokenizer.
        pool: "mean" of the tokens, "first" or "last" of them.

    Raises:
        UserError: if transformers is not installed, `pool` is unknown, or there is no such model.
    """

    def __init__(self, name: str, pool: str = "mean") -> None:
        super().__init__()
        from jepa_wm.encoders.hub import transformers

        if pool not in ("mean", "first", "last"):
            raise UserError(f"HFText.pool: got '{pool}'; expected 'mean', 'first' or 'last'")
        self.name, self.pool = name, pool
        library = transformers()
        try:
            config = library.AutoConfig.from_pretrained(name)
            self.tokenizer = library.AutoTokenizer.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise UserError(f"HFText: cannot read '{name}': {error}") from error
        model = library.AutoModel.from_config(getattr(config, "text_config", config))
        self._kind, self._config = type(model), model.config
        self.tower = _reader(model)
        self.dim = self._config.hidden_size

    def load_weights(self) -> None:
        """Take in the weights that were published under its name.

        Raises:
            UserError: if they cannot be read, or some are missing.
        """
        try:
            model, report = self._kind.from_pretrained(
                self.name, config=self._config, output_loading_info=True, use_safetensors=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"HFText: cannot read the weights of '{self.name}': {error}") from error
        missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
        if missing:
            raise UserError(
                f"HFText: '{self.name}' lacks {len(missing)} tensors of its kind, {', '.join(missing[:5])} among them; "
                "expected the weights of a whole text encoder"
            )
        self.tower.load_state_dict(_reader(model).state_dict())

    def forward(self, sentences: list[str]) -> Tensor:
        tokens = self.tokenizer(sentences, padding=True, truncation=True, return_tensors="pt")
        tokens = tokens.to(next(self.tower.parameters()).device)
        states, mask = self.tower(**tokens).last_hidden_state, tokens["attention_mask"][..., None]
        if self.pool == "mean":
            return (states * mask).sum(dim=1) / mask.sum(dim=1)
        if self.pool == "first":
            return states[:, 0]
        places = torch.arange(states.shape[1], device=states.device)[:, None] * mask
        return states[torch.arange(len(states)), places.amax(dim=(1, 2))]


def _reader(model: Any) -> nn.Module:
    """The half of a model that reads; of most it is the whole."""
    return model.get_encoder() if model.config.is_encoder_decoder else model
