"""What near-duplicate detection finds, beside the Jaccard similarity of all pairs."""

from __future__ import annotations

import json
import math
import random
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.curation.dedup.buckets import near_edges
from pipelines.curation.dedup.minhash import MinHash, similarity
from pipelines.curation.dedup.settings import NearDuplicates
from tests.benchmarks.dedup.bounds import binomial_bounds
from tests.benchmarks.dedup.documents import Multiplied, changes_for, edited
from tests.benchmarks.dedup.help_pages import pages
from tests.benchmarks.dedup.jaccard import Shingles, words

THRESHOLDS = (0.7, 0.75, 0.8, 0.9)
BUCKETS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Lower ends; the last holds equal sets alone."""
LEAST = 0.1
"""No pair below it is compared by hand: with 14 bands of 8 one in a million of them shares a band."""
CURVE = (0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
PAIRS, SEEDS, SEEDS_OF_PAGES = 2000, 8, 40
THEIRS = str(Path(__file__).with_name("theirs.py"))

Pair = tuple[int, int]


def sharing(keys: NDArray[np.uint64]) -> set[Pair]:
    """All pairs of rows (the smaller first) that have the same key in a column."""
    found: set[Pair] = set()
    for column in keys.T:
        order = np.argsort(column, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(column[order])) + 1):
            members = sorted(bucket.tolist())
            found.update((one, two) for at, one in enumerate(members) for two in members[at + 1 :])
    return found


def components(n: int, edges: Iterable[Sequence[int]]) -> NDArray[np.int64]:
    """int64[n]: for each node a number that its component alone has."""
    parents = list(range(n))

    def root(node: int) -> int:
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    for one, two in edges:
        parents[root(one)] = root(two)
    return np.array([root(node) for node in range(n)])


def together(labels: NDArray[np.int64]) -> set[Pair]:
    """All pairs with the same label."""
    return sharing(labels.astype(np.uint64)[:, None])


def clusters(hasher: MinHash, signatures: NDArray[np.uint32], verify: float | None) -> NDArray[np.int64]:
    """The components that the pipeline makes of the documents' bands."""
    keys = hasher.keys_of(signatures)
    columns = [keys.ravel(), np.repeat(np.arange(len(keys), dtype=np.uint64), keys.shape[1])]
    rows = np.stack(columns, axis=1)
    if verify is not None:
        rows = np.concatenate([rows, np.repeat(hasher.sketches(signatures), keys.shape[1], axis=0)], axis=1)
    return components(len(keys), near_edges(rows, verify, hasher.sketched).edges.tolist())


def help_tables(american: Path, british: Path, datasketch: Path | None) -> dict[str, float]:
    """Candidates and clusters on two editions of the help of LibreOffice."""
    texts, same = pages(american, british)
    shingles = Shingles(texts)
    near, jaccard = shingles.pairs(LEAST)
    exact = dict(zip(map(tuple, near.tolist()), jaccard.tolist(), strict=True))
    settings = NearDuplicates()
    hasher = MinHash(settings)
    signatures = hasher.signatures(pa.array(texts, pa.large_string()))
    sketches = hasher.sketches(signatures)
    found = sharing(hasher.keys_of(signatures))
    one, two = np.array(sorted(found)).T
    estimates = dict(zip(sorted(found), similarity(sketches[one], sketches[two], hasher.sketched), strict=True))
    print(f"help pages: {len(texts)}, of them {len(same)} in both editions; {len(exact)} pairs at least {LEAST} alike")
    print(f"  J from  pairs  of both editions  share a band  mean of {SEEDS_OF_PAGES} seeds  by the formula")
    # Pages that are alike are so to the same pages: their collisions are not independent, but right in the mean.
    counts = _collisions(texts, near, jaccard)
    for low, high, own in zip(BUCKETS, (*BUCKETS[1:], 2.0), counts.T, strict=True):
        inside = [pair for pair, value in exact.items() if low <= value < high]
        chances = [settings.collides(exact[pair]) for pair in inside]
        known = len(set(inside).intersection(same))
        print(
            f"  {low:6.2f} {len(inside):6} {known:17} {len(found.intersection(inside)):13}"
            f" {own.mean():12.1f} ± {own.std() / math.sqrt(len(own)):4.1f} {sum(chances):15.1f}"
        )
    figures: dict[str, float] = {}
    print("   J   verify  true pairs |  pairs found  precision  recall (formula) |", end="")
    print(" clusters: precision  recall  chained  removed (by all pairs)")
    for threshold in THRESHOLDS:
        true = {pair for pair, value in exact.items() if value >= threshold}
        labels = components(len(texts), true)
        linked = together(labels)
        expected = float(np.mean([settings.collides(exact[pair]) for pair in true]))
        for verify in (None, threshold - 0.1, threshold):
            pairs = {pair for pair in found if verify is None or estimates[pair] >= verify - 1e-9}
            mine = clusters(hasher, signatures, verify)
            joined = together(mine)
            precision, recall = len(pairs & true) / len(pairs), len(pairs & true) / len(true)
            asked = "none" if verify is None else f"{verify:4.2f}"
            print(
                f"  {threshold:4.2f}  {asked}  {len(true):10} | {len(pairs):11}"
                f"  {precision:9.3f}  {recall:6.3f} ({expected:7.3f}) |"
                f" {len(joined & true) / len(joined):18.3f}  {len(joined & true) / len(true):6.3f}"
                f"  {len(joined & linked) / len(joined):7.3f}"
                f"  {len(texts) - len(np.unique(mine)):7} ({len(texts) - len(np.unique(labels))})"
            )
            name = f"help_{threshold}" + ("" if verify is None else f"_verify_{verify:.2f}")
            figures |= {f"{name}_precision": precision, f"{name}_recall": recall}
    if datasketch is not None:
        figures |= _second_opinion(settings, shingles, exact, found, datasketch)
    return figures


def _collisions(texts: list[str], pairs: NDArray[np.int64], jaccard: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64[seeds, buckets]: how many of the pairs in each bucket share a band, by other hash functions each time."""
    column = pa.array(texts, pa.large_string())
    counts = []
    for seed in range(1, SEEDS_OF_PAGES + 1):
        keys = MinHash(NearDuplicates(seed=seed)).band_keys(column)
        shared = (keys[pairs[:, 0]] == keys[pairs[:, 1]]).any(axis=1)
        counts.append(np.bincount(np.digitize(jaccard, BUCKETS) - 1, weights=shared, minlength=len(BUCKETS)))
    return np.array(counts)


def _second_opinion(
    settings: NearDuplicates, shingles: Shingles, exact: dict[Pair, float], found: set[Pair], python: Path
) -> dict[str, float]:
    """datasketch's candidates of the same sets of shingles."""
    bands, rows, _ = settings.shape
    lines = "\n".join(json.dumps(one.tolist()) for one in shingles.sets)
    command = [str(python), THEIRS, "datasketch", str(bands), str(rows)]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    theirs = {(one, two) for one, two in json.loads(done.stdout)}
    print(f"datasketch: {len(theirs)} candidates, ours {len(found)}, both {len(theirs & found)}")
    print("  J from  pairs   both  ours alone  theirs alone  neither  agree  expected of independent hashes")
    agreement = {}
    for low, high in zip(BUCKETS, (*BUCKETS[1:], 2.0), strict=True):
        inside = {pair for pair, value in exact.items() if low <= value < high}
        chances = np.array([settings.collides(exact[pair]) for pair in inside])
        mine, other = found & inside, theirs & inside
        both, neither = len(mine & other), len(inside) - len(mine | other)
        agreement[low] = (both + neither) / max(1, len(inside))
        print(
            f"  {low:6.2f} {len(inside):6} {both:6} {len(mine - other):11} {len(other - mine):13} {neither:8}"
            f"  {agreement[low]:.3f}  {float(np.mean(chances**2 + (1 - chances) ** 2)) if len(chances) else 1:.3f}"
        )
    return {f"datasketch_agreement_{low}": value for low, value in agreement.items()}


def planted(texts: Sequence[str], settings: NearDuplicates, pairs: int = PAIRS) -> dict[str, float]:
    """Pairs with words replaced: how many share a band, and how well signatures and sketches estimate."""
    many = Multiplied(texts, seed=7)
    bands, rows, k = settings.shape
    print(f"planted edits, {bands} bands of {rows}, {pairs} pairs a line, {SEEDS} seeds of hash functions")
    print("  J (measured)  share a band   formula  99 % bounds     signatures: bias     z   sketches: bias  rms error")
    outside = 0
    family = 0
    scores = []
    for level in CURVE:
        measured, hits, agree, errors = np.zeros(pairs), 0, np.zeros(pairs), np.zeros(pairs)
        for seed in range(SEEDS):
            own = range(seed * pairs // SEEDS, (seed + 1) * pairs // SEEDS)
            hasher = MinHash(settings.model_copy(update={"seed": settings.seed + seed}))
            both = []
            for _ in own:
                both += _pair(many, family, level, k)
                family += 1
            sets = Shingles(both, k)
            measured[own] = [sets.jaccard(2 * at, 2 * at + 1) for at in range(len(own))]
            signatures = hasher.signatures(pa.array(both, pa.large_string()))
            keys, sketches = hasher.keys_of(signatures), hasher.sketches(signatures)
            hits += int((keys[::2] == keys[1::2]).any(axis=1).sum())
            agree[own] = (signatures[::2] == signatures[1::2]).mean(axis=1)
            errors[own] = similarity(sketches[::2], sketches[1::2], hasher.sketched) - measured[own]
        chance = float(np.mean([settings.collides(value) for value in measured]))
        low, high = binomial_bounds(pairs, chance)
        outside += not low <= hits <= high
        bias = float(np.mean(agree - measured))
        z = bias / math.sqrt(float(np.sum(measured * (1 - measured))) / (bands * rows)) * pairs
        scores.append(z)
        print(
            f"  {measured.mean():12.4f}  {hits:12}  {chance * pairs:8.1f}  {low:4} to {high:4} "
            f"{'' if low <= hits <= high else '*':1} {bias:19.5f} {z:5.2f} {errors.mean():16.5f}"
            f"  {math.sqrt(float(np.mean(errors**2))):9.4f}"
        )
    print(f"  {outside} of {len(CURVE)} outside; of independent lines one in a hundred is")
    return {f"curve_outside_{bands}x{rows}": outside, f"largest_bias_z_{bands}x{rows}": max(scores, key=abs)}


def _pair(many: Multiplied, family: int, level: float, k: int) -> list[str]:
    found = words(many.member(family, 0).text)
    changed = edited(found, changes_for(len(found), level, k), many.vocabulary, random.Random(family), k)
    return [" ".join(found), " ".join(changed)]
