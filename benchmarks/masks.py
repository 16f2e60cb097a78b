"""Time masks against the Synapse SDK's own converters, in one process and taking turns; run with ``python -m``.

Conversions of a full HD mask, from the ``[start, length]`` pairs of a decoded document: to COCO's run-length encoding
(the same bytes come out), to outlines (the SDK's run through the centres of pixels and drop holes, ours go around the
pixels and keep them) and to one ring for all parts and holes (the SDK has none, its outlines stand beside it). Seconds
are the process's own, so that a busy machine matters less, and nothing is asserted about them.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from synapse_sdk.utils.converters.coco.from_dm import mask_geometry
from synapse_sdk.utils.converters.yolo.from_dm import FromDMToYOLOConverter

from pipeline.images.masks import coco_rle, runs_from_indices, runs_from_pairs
from pipeline.images.outlines import trace_outlines
from pipeline.images.rings import join_outlines

WIDTH, HEIGHT = 1920, 1080
# Ours is so short that one call is mostly the clock's and the cache's noise.
REPEATS = 20

type Bitmap = npt.NDArray[np.bool_]


def ellipses() -> Bitmap:
    """A few smooth objects, some with holes: what an annotator draws."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]

    def ellipse(across: int, down: int, wide: int, high: int) -> Bitmap:
        inside: Bitmap = ((x - across) / wide) ** 2 + ((y - down) / high) ** 2 < 1
        return inside

    large = ellipse(500, 500, 400, 350) & ~ellipse(450, 450, 120, 90) & ~ellipse(650, 600, 60, 80)
    ring = ellipse(1400, 600, 300, 200) & ~ellipse(1400, 600, 100, 50)
    return large | ring | ellipse(1700, 200, 80, 60)


def ragged(smoothing: int = 30) -> Bitmap:
    """Noise smoothed over that many pixels and cut at its median: what a model predicts."""
    values = np.random.default_rng(0).random((HEIGHT, WIDTH))
    kernel = np.exp(-0.5 * (np.arange(-3 * smoothing, 3 * smoothing + 1) / smoothing) ** 2)
    for axis in (0, 1):
        values = np.apply_along_axis(np.convolve, axis, values, kernel, "same")
    cut: Bitmap = values > np.median(values)
    return cut


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Processor seconds of one call, the mean over some."""
    started = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - started) / repeats


def compare(bitmap: Bitmap, rounds: int) -> dict[str, tuple[float, float, float]]:
    """For each conversion the medians over the rounds: our seconds, the SDK's, and the ratio within a round."""
    pairs = np.frombuffer(runs_from_indices(np.flatnonzero(bitmap)), "<i8").reshape(-1, 2).tolist()
    annotation: dict[str, Any] = {
        "data": pairs,
        "encoding": "dm_rle",
        "isCompressed": True,
        "compressionFormat": "rle",
    }

    def runs() -> bytes:
        return runs_from_pairs(np.array(pairs))

    contours: Callable[..., object] = FromDMToYOLOConverter._mask_contours  # noqa: SLF001  what its segment rows are
    segmentation, _, _ = mask_geometry(annotation, WIDTH, HEIGHT)
    if segmentation["counts"] != coco_rle(runs(), WIDTH, HEIGHT).counts.decode():
        raise SystemExit("the encodings differ")
    conversions: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "COCO RLE": (lambda: coco_rle(runs(), WIDTH, HEIGHT), lambda: mask_geometry(annotation, WIDTH, HEIGHT)),
        "outlines": (lambda: trace_outlines(runs(), WIDTH, HEIGHT), lambda: contours(annotation, WIDTH, HEIGHT)),
        "one ring": (
            lambda: join_outlines(trace_outlines(runs(), WIDTH, HEIGHT)),
            lambda: contours(annotation, WIDTH, HEIGHT),
        ),
    }
    found = {}
    for name, (ours, theirs) in conversions.items():
        times = [(seconds(ours, REPEATS), seconds(theirs, 1)) for _ in range(rounds)]
        triples = [(own, other, other / own) for own, other in times]
        own, other, ratio = (statistics.median(column) for column in zip(*triples, strict=True))
        found[name] = own, other, ratio
    return found


def main() -> None:
    """Print a table: our milliseconds, and how many times longer the SDK takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"{WIDTH} x {HEIGHT}, {rounds} rounds")
    print(f"{'mask':12}{'to':12}{'ms':>8}{'SDK ms':>10}{'times':>8}")
    for name, bitmap in (("ellipses", ellipses()), ("ragged", ragged())):
        for conversion, (own, other, ratio) in compare(bitmap, rounds).items():
            print(f"{name:12}{conversion:12}{own * 1e3:8.2f}{other * 1e3:10.1f}{ratio:8.0f}", flush=True)


if __name__ == "__main__":
    main()
