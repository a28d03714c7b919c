"""Importers: samples of other formats, one format a file."""

from jepa_wm.data.importers.base import Importer, Item
from jepa_wm.data.importers.dino_wm import DinoWm
from jepa_wm.data.importers.hdf5 import Hdf5
from jepa_wm.data.importers.image_folder import ImageFolder
from jepa_wm.data.importers.lerobot import LeRobot
from jepa_wm.data.importers.minari import Minari
from jepa_wm.data.importers.npz import NpzFolder
from jepa_wm.data.importers.table import Table
from jepa_wm.data.importers.torchvision_dataset import TorchvisionDataset
from jepa_wm.data.importers.video_folder import VideoFolder

__all__ = [
    "DinoWm",
    "Hdf5",
    "ImageFolder",
    "Importer",
    "Item",
    "LeRobot",
    "Minari",
    "NpzFolder",
    "Table",
    "TorchvisionDataset",
    "VideoFolder",
]
