"""Checks that the texts of a figure can be read: none leaves the figure or overlaps another."""

from __future__ import annotations

import itertools

from matplotlib.figure import Figure
from matplotlib.text import Text


def check_texts(figure: Figure, name: str) -> None:
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in _texts(figure)]
    for text, box in boxes:
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, f"{name}: {text!r} leaves the figure"
        assert box.y0 >= 0 and box.y1 <= figure.bbox.y1, f"{name}: {text!r} leaves the figure"
    for (text, box), (other, other_box) in itertools.combinations(boxes, 2):
        wide = min(box.x1, other_box.x1) - max(box.x0, other_box.x0)
        high = min(box.y1, other_box.y1) - max(box.y0, other_box.y0)
        assert wide < 1 or high < 2, f"{name}: {text!r} overlaps {other!r}"


def check_size(figure: Figure, name: str) -> None:
    """The smallest text is at least 8 pixels high where the figure is 600 pixels wide."""
    smallest = min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text().strip())
    assert smallest / 72 * 600 / figure.get_figwidth() >= 8, name


def _texts(figure: Figure) -> list[Text]:
    """Titles, subtitles and labels; no tick labels, some of which are outside of the limits and not shown."""
    texts = list(figure.texts)
    for axes in figure.axes:
        texts += [*axes.texts, axes._left_title]
        texts += [axes.xaxis.label, axes.yaxis.label] if axes.axison else []
    return [text for text in texts if text.get_text().strip()]
