"""Lines and paragraphs that several documents have, or one has twice: one copy stays.

Each line of the corpus is left in exactly one place, as in C4 (Raffel et al. 2020, §2.2), and lines are compared as
CCNet compares paragraphs: by a 64-bit hash, whatever their case, punctuation and digits (Wenzek et al. 2020).
"""
