"""A small source of each format, made by that format's own library: `sources.<importer's module>(folder)`.

A new importer needs a function of its module's name here: the contract tests ask for it.
"""

import io
import pickle
import shutil
from pathlib import Path

import av
import gymnasium
import h5py
import minari
import numpy as np
import pyarrow
import pyarrow.parquet
import torch
import torchvision
from minari.data_collector import EpisodeBuffer
from PIL import Image

from jepa_wm.data import importers

FIXTURES = Path(__file__).parent / "fixtures"
SIZES = {0: 6, 1: 7, 2: 8}
"""Frames of each episode of the sources that hold episodes."""


def grey(value: int, height: int = 8, width: int = 10) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def file_of(pixels: np.ndarray, form: str) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, form)
    return data.getvalue()


def film(path: Path, frames: np.ndarray, codec: str = "libx264") -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def image_folder(folder: Path) -> importers.Importer:
    """Nine images of classes cat (0 to 4) and dog (5 to 8), in four formats."""
    for number in range(9):
        kind, form = "cat" if number < 5 else "dog", ("jpeg", "png", "webp", "bmp")[number % 4]
        path = folder / kind / "more" / f"{number}.{form}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_of(grey(20 * number), form))
    return importers.ImageFolder(str(folder))


def table(folder: Path) -> importers.Importer:
    """Seven images in Parquet as Hugging Face's data sets have them, in row groups of three."""
    rows = [{"bytes": file_of(grey(20 * number), "png"), "path": None} for number in range(7)]
    texts = [f"caption {number}: ö" for number in range(7)]
    data = pyarrow.table({"image": rows, "caption": texts, "score": [number / 2 for number in range(7)]})
    folder.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(data, folder / "table.parquet", row_group_size=3)
    return importers.Table(str(folder / "table.parquet"))


def video_folder(folder: Path) -> importers.Importer:
    """Three videos, webm and mp4, of 6 to 8 frames, one with a caption."""
    for number, (kind, suffix, codec) in enumerate(
        (("run", "mp4", "libx264"), ("walk", "webm", "libvpx-vp9"), ("walk", "mp4", "libx264"))
    ):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        frames = np.stack([grey(20 * t + number, 32, 48) for t in range(SIZES[number])])
        film(folder / kind / f"{number}.{suffix}", frames, codec)
    (folder / "run" / "0.txt").write_text("somebody runs\n")
    return importers.VideoFolder(str(folder))


def torchvision_dataset(folder: Path) -> importers.Importer:
    """Torchvision's MNIST, of files in its raw form."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.stack([np.full((28, 28), 20 * number, np.uint8) for number in range(9)])
    header = np.array([2051, 9, 28, 28], ">i4").tobytes()
    labels = np.arange(9, dtype=np.uint8)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(np.array([2049, 9], ">i4").tobytes() + labels.tobytes())
    return importers.TorchvisionDataset(torchvision.datasets.MNIST(str(folder), train=True))


def hdf5(folder: Path) -> importers.Importer:
    """A file that stable-worldmodel's own writer wrote: frame t of episode e is grey 20 t + e."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(FIXTURES / "stable-worldmodel.h5", folder / "data.h5")
    with h5py.File(folder / "data.h5", "r+") as file:
        ends = [SIZES[0] - 1, SIZES[0] + SIZES[1] + SIZES[2] - 1]
        file["terminated"] = np.isin(np.arange(sum(SIZES.values())), ends)
    return importers.Hdf5(str(folder / "data.h5"))


def episode_arrays(number: int) -> dict[str, np.ndarray]:
    """Frame t of episode e is grey 20 t + e; its state (e, t, .5), its action (t, -t); not over by itself if e is 1."""
    steps = np.arange(SIZES[number], dtype=np.float32)
    return {
        "pixels": np.stack([grey(20 * t + number) for t in range(SIZES[number])]),
        "action": np.stack([steps, -steps], axis=1),
        "state": np.stack([np.full_like(steps, number), steps, np.full_like(steps, 0.5)], axis=1),
        "reward": steps,
        "terminated": number != 1 and np.append(steps[1:] == steps[-1], False),
    }


def npz(folder: Path) -> importers.Importer:
    """Three files of numpy's own."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in SIZES:
        np.savez_compressed(folder / f"episode {number}.npz", **episode_arrays(number))
    return importers.NpzFolder(str(folder))


def dino_wm(folder: Path) -> importers.Importer:
    """As the official code reads Push-T: padded tensors, a pickled list of lengths, frames as tensors."""
    (folder / "obses").mkdir(parents=True)
    states, actions = torch.zeros(3, 8, 2), torch.zeros(3, 8, 2)
    for number in SIZES:
        arrays = episode_arrays(number)
        states[number, : SIZES[number]] = torch.from_numpy(arrays["state"][:, :2])
        actions[number, : SIZES[number]] = torch.from_numpy(arrays["action"])
        torch.save(torch.from_numpy(arrays["pixels"]), folder / "obses" / f"episode_{number:03d}.pth")
    torch.save(states, folder / "states.pth")
    torch.save(torch.full((3, 8, 1), 0.5), folder / "velocities.pth")
    torch.save(actions, folder / "rel_actions.pth")
    (folder / "seq_lengths.pkl").write_bytes(pickle.dumps(list(SIZES.values())))
    return importers.DinoWm(str(folder), action="rel_actions.pth")


def lerobot(folder: Path, version: str = "v3.0") -> importers.Importer:
    """A folder that lerobot itself wrote: frame t of episode e is grey 8 t + 60 e, its state (e, t)."""
    shutil.copytree(FIXTURES / f"lerobot-{version}", folder, dirs_exist_ok=True)
    return importers.LeRobot(str(folder))


def minari_dataset(folder: Path) -> None:
    """Written by Minari, in the folder that MINARI_DATASETS_PATH names."""
    buffers = []
    for number in SIZES:
        arrays = episode_arrays(number)
        steps = SIZES[number] - 1
        buffers.append(
            EpisodeBuffer(
                observations={"pixels": list(arrays["pixels"]), "state": list(arrays["state"])},
                actions=[np.int64(t % 3) for t in range(steps)],
                rewards=arrays["reward"][:steps].tolist(),
                terminations=[False] * (steps - 1) + [number != 1],
                truncations=[False] * (steps - 1) + [number == 1],
            )
        )
    spaces = gymnasium.spaces
    minari.create_dataset_from_buffers(
        dataset_id="tests/tiny-v0",
        buffer=buffers,
        action_space=spaces.Discrete(3),
        observation_space=spaces.Dict(
            {"pixels": spaces.Box(0, 255, (8, 10, 3), np.uint8), "state": spaces.Box(-99, 99, (3,))}
        ),
        jpeg_encoding=False,
    )
