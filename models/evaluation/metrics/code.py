"""Whether generated Python parses. Nothing is executed."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence

from models.evaluation.metrics.statistics import Mean


def parses(program: str) -> bool:
    """Whether Python accepts the program's syntax."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(program, "<completion>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
            return False
    return True


def completes(prompt: str, completion: str) -> bool:
    """Whether prompt + completion parses and says more than the prompt: a docstring alone is no function body."""
    if not parses(prompt + completion):
        return False
    try:
        return statements(prompt + completion) > statements(prompt)
    except SyntaxError:
        return True


def statements(program: str) -> int:
    """How many statements a program has. Raises SyntaxError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(program)))


class SyntaxValid(Mean):
    """Share of completions that parse together with their prompt and add a statement to it.

    prediction: the completion; reference: the prompt.
    """

    name = "syntax_valid"

    def update(self, prediction: str, reference: str) -> Sequence[float]:
        """1 where it parses and adds something."""
        return (float(completes(reference, prediction)),)

    def signature(self) -> str:
        """What counts."""
        return "syntax|compile:prompt+completion|adds:statement|executed:no|se:normal"
