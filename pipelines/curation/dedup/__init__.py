"""Duplicates: exact, near, and of lines, over a whole corpus."""
