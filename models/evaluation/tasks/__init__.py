"""Tasks: rows of a file to requests, answers to figures. A new task is a class and a line here."""

from models.evaluation.tasks.base import Context, Part, Task, TaskFigure, TaskResult
from models.evaluation.tasks.context import Copy, Needle
from models.evaluation.tasks.generation import Code, Questions, Toxicity, Translation
from models.evaluation.tasks.held_out import FillMask, HeldOut
from models.evaluation.tasks.likelihood import Bias, Cloze, Completion

TASKS: dict[str, type[Task]] = {
    "held_out": HeldOut,
    "completion": Completion,
    "cloze": Cloze,
    "qa": Questions,
    "translation": Translation,
    "code": Code,
    "bias": Bias,
    "toxicity": Toxicity,
    "fill_mask": FillMask,
    "needle": Needle,
    "copy": Copy,
}

__all__ = ["TASKS", "Context", "Part", "Task", "TaskFigure", "TaskResult"]
