"""Safety of generations: a word-list scorer and the filter made of it."""

from models.evaluation.safety.filter import FilterSettings, SafetyFilter, Verdict
from models.evaluation.safety.lexicon import Lexicon, Score

__all__ = ["FilterSettings", "Lexicon", "SafetyFilter", "Score", "Verdict"]
