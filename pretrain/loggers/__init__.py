"""Where metrics go, one place a file."""

from pretrain.loggers.csv_table import CsvTable
from pretrain.loggers.json_lines import JsonLines
from pretrain.loggers.tensorboard import TensorBoard
from pretrain.loggers.weights_and_biases import WeightsAndBiases

__all__ = ["CsvTable", "JsonLines", "TensorBoard", "WeightsAndBiases"]
