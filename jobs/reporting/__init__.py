"""The report's building blocks: figures gathered from a run directory, and one self-contained page made of them."""

from jobs.reporting.collect import collect
from jobs.reporting.page import render

__all__ = ["collect", "render"]
