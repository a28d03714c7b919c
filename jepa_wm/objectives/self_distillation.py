"""Self-distillation: DINO on whole views, iBOT on masked patches, KoLeo, and Gram anchoring."""

import copy
import math

import torch
from torch import Tensor, nn

from jepa_wm import distributed
from jepa_wm.contracts import Batch, Objective
from jepa_wm.data.masks import BlockwiseMask
from jepa_wm.data.transforms import MultiCrop
from jepa_wm.encoders.vit import Encoded, ViT, check_vit
from jepa_wm.errors import UserError
from jepa_wm.losses.gram import gram
from jepa_wm.losses.koleo import koleo
from jepa_wm.losses.prototypes import cross_entropy, cross_views, sinkhorn
from jepa_wm.objectives.heads import PrototypeHead
from jepa_wm.objectives.views import global_views, local_views
from jepa_wm.optim import ema_update
from jepa_wm.schedules import Constant, Linear, Schedule


class GramAnchor:
    """Keep the similarities among patches as an earlier teacher had them.

    Args:
        weight: of the loss, over training; the anchor is first taken when it is no longer 0.
        every: share of the training after which the anchor is taken anew from the teacher.

    Source: DINOv3 (arXiv 2508.10104). Here the anchor sees the student's own views; theirs sees larger ones.
    """

    def __init__(self, weight: Schedule, every: float = 0.1) -> None:
        self.weight, self.every = weight, every


class PrototypeOptions:
    """The heads of self-distillation.

    Args:
        prototypes: K, of each head.
        hidden: width of hidden layers.
        bottleneck: width of the unit vectors that meet the prototypes.
        student: the student's temperature.
        teacher: the teacher's, over training.
    """

    def __init__(
        self,
        prototypes: int = 65536,
        hidden: int = 2048,
        bottleneck: int = 256,
        student: float = 0.1,
        teacher: Schedule | None = None,
    ) -> None:
        self.prototypes, self.hidden, self.bottleneck, self.student = prototypes, hidden, bottleneck, student
        self.teacher = teacher or Constant(0.07)


class Student(nn.Module):
    """An encoder with a head for whole views and one for patches."""

    def __init__(self, encoder: ViT, options: PrototypeOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.view_head = PrototypeHead(encoder.latent_dim, options.prototypes, options.hidden, options.bottleneck)
        self.patch_head = PrototypeHead(encoder.dim, options.prototypes, options.hidden, options.bottleneck)

    def latent(self, encoded: Encoded, pixels: Tensor) -> Tensor:
        """The pooled latent (B, latent_dim) of what was encoded of pixels."""
        return self.encoder.pool(encoded.prefix, encoded.patches, self.encoder.grid_of(pixels))


class SelfDistillation(Objective):
    """Predict a teacher's assignment to prototypes: of a view from other views, of masked patches from the rest.

    Args:
        encoder: the student.
        transform: how views are cut from a picture or clip.
        heads: sizes and temperatures of the heads.
        masks: which patches of the large views are hidden.
        decay: the teacher's, over training.
        patches: weight of iBOT's loss.
        koleo: weight of KoLeo, for each large view.
        gram: Gram anchoring; None leaves it out.

    Source: DINOv2 (arXiv 2304.07193) and v3 (arXiv 2508.10104), official codes: Sinkhorn's centring, the large views
    not compared with themselves, DINO's terms weighted by their number, one head for views and one for patches. Here
    KoLeo looks for neighbours on all ranks; works without a process group.
    """

    def __init__(
        self,
        encoder: ViT,
        transform: MultiCrop | None = None,
        heads: PrototypeOptions | None = None,
        masks: BlockwiseMask | None = None,
        decay: Schedule | None = None,
        patches: float = 1.0,
        koleo: float = 0.1,
        gram: GramAnchor | None = None,
    ) -> None:
        super().__init__()
        check_vit(encoder, "SelfDistillation")
        self.transform, self.heads = transform or MultiCrop(), heads or PrototypeOptions()
        if self.transform.size % encoder.patch or self.transform.local_size % encoder.patch:
            raise UserError(
                f"SelfDistillation.transform: got views of {self.transform.size} and {self.transform.local_size} "
                f"pixels; expected multiples of the encoder's patch {encoder.patch}"
            )
        self.masks = masks or BlockwiseMask()
        self.decay, self.patches, self.koleo, self.gram = decay or Linear(0.992, 1.0), patches, koleo, gram
        self.student = Student(encoder, self.heads)
        self.mask_token = nn.Parameter(torch.zeros(encoder.dim))
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.anchor = None if gram is None else copy.deepcopy(encoder).requires_grad_(False)
        self.anchored: float | None = None

    @property
    def encoder(self) -> ViT:
        """The student's encoder."""
        return self.student.encoder

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Batch -> loss, its parts, and the entropy of the teacher's assignments: log K in nats if they are even."""
        large, small = global_views(batch, "SelfDistillation"), local_views(batch)
        views, size = large.shape[:2]
        pixels = large.flatten(0, 1)
        hidden = self._hidden(large, batch["step"])
        view_targets, patch_targets, anchor_patches = self._targets(pixels, hidden, batch["progress"])
        seen = self._encode_masked(pixels, hidden)
        latents = self.student.latent(seen, pixels)
        logits = self.student.view_head(latents).unflatten(0, (views, size))
        targets, temperature = view_targets.unflatten(0, (views, size)), self.heads.student
        pairs, terms = views * (views - 1), {"views": cross_views(logits, targets, temperature, same=True)}
        loss = terms["views"]
        if small is not None:
            small_logits = self.student.view_head(self.encoder.pooled(small.flatten(0, 1))).unflatten(0, (-1, size))
            terms["local_views"] = cross_views(small_logits, targets, temperature, same=False)
            others = views * len(small)
            loss = (pairs * loss + others * terms["local_views"]) / (pairs + others)
        terms["patches"] = self._patch_loss(seen.patches, hidden, patch_targets)
        terms["koleo"] = torch.stack([koleo(view) for view in latents.unflatten(0, (views, size))]).mean()
        loss = loss + self.patches * terms["patches"] + self.koleo * views * terms["koleo"]
        if anchor_patches is not None and self.gram is not None:
            terms["gram"] = gram(seen.patches, anchor_patches)
            loss = loss + self.gram.weight(batch["progress"]) * terms["gram"]
        terms["entropy"] = -(view_targets * view_targets.clamp(min=1e-30).log()).sum(-1).mean()
        return {"loss": loss, **terms}

    @torch.no_grad()
    def _targets(self, pixels: Tensor, hidden: Tensor, progress: float) -> tuple[Tensor, Tensor, Tensor | None]:
        """The teacher's assignments of the large views and of their hidden patches, and the anchor's patches."""
        encoded = self.teacher.encoder.encode(pixels)
        temperature = self.heads.teacher(progress)
        views = sinkhorn(self.teacher.view_head(self.teacher.latent(encoded, pixels)), temperature)
        patches = sinkhorn(self.teacher.patch_head(encoded.patches[hidden]), temperature)
        if self.gram is None or self.anchor is None or self.gram.weight(progress) == 0:
            return views, patches, None
        # A run that another one's end begins with has its anchor from later than now.
        fresh = self.anchored is not None and 0.0 <= progress - self.anchored < self.gram.every
        if self.training and not fresh:
            self.anchor.load_state_dict(self.teacher.encoder.state_dict())
            self.anchored = progress
        return views, patches, self.anchor(pixels)

    def _encode_masked(self, pixels: Tensor, hidden: Tensor) -> Encoded:
        tokens = self.encoder.embedded(pixels)
        tokens = torch.where(hidden[..., None], self.mask_token.to(tokens.dtype), tokens)
        return self.encoder.transform(tokens, self.encoder.grid_of(pixels))

    def _patch_loss(self, patches: Tensor, hidden: Tensor, targets: Tensor) -> Tensor:
        """iBOT's: the mean over the hidden patches of each view, averaged over all views, masked or not."""
        terms = cross_entropy(self.student.patch_head(patches[hidden]), targets, self.heads.student)
        counts = hidden.sum(dim=1, keepdim=True).clamp(min=1).expand_as(hidden)[hidden]
        return (terms / counts).sum() / len(hidden)

    def _hidden(self, large: Tensor, step: int) -> Tensor:
        """Hidden patches of this rank's large views (V, B, …): bool (V * B, N), drawn for all ranks at once."""
        views, size = large.shape[:2]
        grid, everyone = self.encoder.grid_of(large[0]), size * distributed.world_size()
        drawn = self.masks.draw(grid, views * everyone, torch.Generator().manual_seed(step))
        own = slice(distributed.rank() * size, (distributed.rank() + 1) * size)
        return drawn.unflatten(0, (views, everyone))[:, own].flatten(0, 1).to(large.device)

    def frozen(self) -> list[nn.Module]:
        """The teacher, and the anchor if there is one."""
        return [self.teacher] if self.anchor is None else [self.teacher, self.anchor]

    def after_step(self, progress: float) -> None:
        """Move the teacher towards the student."""
        ema_update(self.teacher, self.student, self.decay(progress))

    def get_extra_state(self) -> Tensor:
        """When the anchor was taken, for a run that is resumed; NaN if it never was."""
        return torch.tensor([math.nan if self.anchored is None else self.anchored], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take in `get_extra_state`'s; older ones are empty where no anchor was taken."""
        self.anchored = state.item() if len(state) and not state.isnan() else None

    def exported(self) -> dict[str, nn.Module]:
        """The encoder and its moving average."""
        return {"encoder": self.encoder, "teacher": self.teacher.encoder}
