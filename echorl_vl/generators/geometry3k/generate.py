"""Generate geometry problems like those of Geometry3K from a seed.

    echorl generate --split train --size 2000 --out geometry.parquet
    echorl generate --gallery gallery.png

A problem has a diagram with its measures, a question that can't be answered without the image, a worked solution of
several lines and an answer. Files have the columns of the hub's `hiyouga/geometry3k` (images, problem, answer) and some
more, so they can be used in its place.

Splits do not overlap: a hash of a problem's signature (kind, layout, measures, orientation, question) assigns it to
training, validation or test.
"""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from echorl_vl.errors import settings_called
from echorl_vl.generators.geometry3k.canvas import CELLS, PATCH
from echorl_vl.generators.geometry3k.kinds import KINDS, OOD_KINDS, TRAIN_KINDS, draw_problem
from echorl_vl.generators.geometry3k.problem import GeometryProblem
from echorl_vl.generators.splits import Split, draw_problems, draw_rows, standard_splits
from echorl_vl.outputs.atomic import replacing
from echorl_vl.outputs.command import job, make_parser, parse_arguments, positive
from echorl_vl.outputs.log import is_quiet
from echorl_vl.outputs.terminal import visible

if TYPE_CHECKING:
    import datasets


SPLITS = standard_splits(tuple(TRAIN_KINDS), tuple(OOD_KINDS))


def draw_split(split: Split, seed: int | None = None) -> Iterator[GeometryProblem]:
    """Yield distinct problems of a split (by signature and pose) until no more are found."""
    return draw_problems(split, draw_problem, seed)


def to_row(problem: GeometryProblem, index: int, image_size: int = CELLS * PATCH) -> dict:
    """Convert a problem to a row in the schema of `hiyouga/geometry3k`, with additional columns."""
    return {
        "images": [{"bytes": problem.image(image_size), "path": None}],
        "problem": "<image>" + problem.sketch.question,
        "answer": problem.answer,
        "solution": problem.solution(random.Random(index)),
        "kind": problem.kind,
        "numbers": list(problem.sketch.numbers),
        "large": problem.sketch.large,
    }


def load_split(
    name: str, size: int | None = None, seed: int | None = None, image_size: int = CELLS * PATCH
) -> datasets.Dataset:
    """Generate a split as a data set.

    Args:
        name: a key of `SPLITS`.
        size: number of problems. None: the size of the split.
        seed: seed of the problems. None: the seed of the split.
        image_size: pixels along each side, a multiple of 112.

    Raises:
        ValueError: the split does not exist or has fewer than `size` distinct problems.
    """
    import datasets

    rows = draw_rows(SPLITS, name, draw_problem, lambda problem, index: to_row(problem, index, image_size), size, seed)
    features = datasets.Features(
        {
            "images": [datasets.Image()],
            "problem": datasets.Value("string"),
            "answer": datasets.Value("string"),
            "solution": datasets.Value("string"),
            "kind": datasets.Value("string"),
            "numbers": [datasets.Value("int32")],
            "large": datasets.Value("bool"),
        }
    )
    return datasets.Dataset.from_list(rows, features=features)


def gallery(path: Path, size: int = 448) -> None:
    """Write an image with one problem of each kind: diagram, question and worked solution."""
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    rng = random.Random(0)
    figure = Figure(figsize=(17, 17))
    axes = figure.subplots(3, 5)
    for axis, kind in zip(axes.flat, KINDS, strict=True):
        problem = draw_problem(kind, rng)
        sketch = problem.sketch
        axis.imshow(imread(io.BytesIO(problem.image(size))))
        axis.set_xticks([])
        axis.set_yticks([])
        note = "  (not in training)" if kind in OOD_KINDS else ""
        axis.set_title(f"{kind}{note}", fontsize=10, fontweight="bold", loc="left")
        axis.set_xlabel(f"{sketch.question}\n\n{problem.solution(rng)}".replace("$", r"\$"), fontsize=8, loc="left")
    figure.subplots_adjust(left=0.01, right=0.99, top=0.97, bottom=0.1, wspace=0.08, hspace=0.55)
    with replacing(path, durable=False) as partial:
        figure.savefig(partial, dpi=110, format="png")


@job
def main(arguments: list[str] | None = None) -> int:
    parser = make_parser("generate", "geometry3k.generate", __doc__)
    parser.add_argument("--split", choices=list(SPLITS), default="train")
    parser.add_argument("--size", type=positive, help="number of problems (default: the size of the split)")
    parser.add_argument("--seed", type=int, help="seed of the problems (default: the seed of the split)")
    parser.add_argument(
        "--picture-size",
        dest="image_size",
        metavar="PIXELS",
        type=int,
        default=CELLS * PATCH,
        help="pixels along each side of an image (default: 112)",
    )
    parser.add_argument("--out", type=Path, help="parquet file to write")
    parser.add_argument("--gallery", type=Path, help="write an image with one problem of each kind instead")
    options = parse_arguments(parser, arguments)
    with settings_called({"trainer.save_checkpoint_path": "--gallery" if options.gallery else "--out"}):
        if options.gallery:
            gallery(options.gallery)
            _show(str(options.gallery))
            return 0
        if options.out is None or options.out.suffix != ".parquet":
            parser.error(visible(f"--out: expected a .parquet file, got {options.out}"))
        import datasets

        datasets.disable_progress_bars()
        try:
            rows = load_split(options.split, options.size, options.seed, options.image_size)
        except ValueError as error:
            parser.error(str(error))
        with replacing(options.out, durable=False) as partial:
            rows.to_parquet(str(partial))
    _show(f"{len(rows)} problems -> {options.out}")
    return 0


def _show(line: str) -> None:
    if not is_quiet():
        print(visible(line))


if __name__ == "__main__":
    sys.exit(main())
