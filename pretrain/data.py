"""One data module for all shards of clips."""

import lightning as L

from jepa_wm.data import ClipLoader, EpisodeShards


class ClipDataModule(L.LightningDataModule):
    """Clips of `frames` frames, `frame_skip` steps apart, from a folder of shards.

    Args:
        folder: folder of shards, as `jepa-wm collect` writes it.
        frames: frames T of a clip.
        frame_skip: environment steps between two frames.
        batch_size: clips in a batch, on each device.
        clips_per_episode: clips cut from an episode that is decoded once.
        seed: seeds the order and the cuts.
        workers: processes that decode; 0 decodes in this one.
    """

    def __init__(
        self,
        folder: str,
        frames: int = 4,
        frame_skip: int = 5,
        batch_size: int = 64,
        clips_per_episode: int = 4,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.folder, self.frames, self.frame_skip, self.batch_size = folder, frames, frame_skip, batch_size
        self.clips_per_episode, self.seed, self.workers = clips_per_episode, seed, workers
        self.statistics = EpisodeShards(folder, "train").statistics

    def train_dataloader(self) -> ClipLoader:
        """Shuffled clips of the training split."""
        return self._loader("train", True)

    def val_dataloader(self) -> ClipLoader:
        """Clips of the validation split, the same at every call."""
        return self._loader("val", False)

    def _loader(self, split: str, shuffle: bool) -> ClipLoader:
        return ClipLoader(
            self.folder,
            split,
            frames=self.frames,
            frame_skip=self.frame_skip,
            batch_size=self.batch_size,
            clips_per_episode=self.clips_per_episode,
            seed=self.seed,
            workers=self.workers,
            shuffle=shuffle,
        )
