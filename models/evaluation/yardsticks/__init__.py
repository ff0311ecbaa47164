"""Yardsticks: what simple models reach on the same text, so that a figure can be judged."""

from models.evaluation.yardsticks.kneser_ney import KneserNey

__all__ = ["KneserNey"]
