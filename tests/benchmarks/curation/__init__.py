"""Measurements of curation: agreement with datatrove, and speed beside it."""
