"""The training loop, its engines, batch plan, schedules, guard, checkpoints and metrics."""

from models.training.data import IGNORED, Dataset, PretrainingDataset
from models.training.run import TrainingResult, fit
from models.training.settings import TrainingSettings

__all__ = ["IGNORED", "Dataset", "PretrainingDataset", "TrainingResult", "TrainingSettings", "fit"]
