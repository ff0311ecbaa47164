"""The search for training settings on a small proxy, and the rule that carries them over to the target."""

from models.tuning.search import Trial, best_of, search_on_ray, survivors, trial_settings
from models.tuning.settings import Range, SearchSettings, SpaceSettings

__all__ = [
    "Range",
    "SearchSettings",
    "SpaceSettings",
    "Trial",
    "best_of",
    "search_on_ray",
    "survivors",
    "trial_settings",
]
