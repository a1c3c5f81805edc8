"""Names beside points, none over another or over a point: placed when the figure is drawn, when its size is known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.lines import Line2D
from matplotlib.text import Text

FONT_PT = 5.5
_AROUND = ((1, 0), (1, 1), (1, -1), (0, 1), (0, -1), (-1, 0), (-1, 1), (-1, -1))  # where a label may stand
_AWAY_PT = (3.5, 8.0, 14.0)  # how far from its point
_POINT_PT = 2.2  # half a marker
_FAR_PT = 4.5  # a label further away is joined to its point
_SAME_PX = 1e-6  # distances that differ by less are equal

Place = tuple[float, float]
Box = tuple[float, float, float, float]  # left, bottom, right, top


def place(
    points: np.ndarray, sizes: np.ndarray, taken: np.ndarray, bounds: Box, pt: float, others: np.ndarray | None = None
) -> list[Box | None]:
    """Find room for a label beside each point, the first come first; None where there is none.

    `points` are (labels, 2), `sizes` their widths and heights, `taken` the centres (n, 2) of markers that no label may
    cover, all in pixels of which `pt` make a point. One so near that no line joins it is nearer to its own point than
    to any of `others`, (m, 2).
    """
    half = _POINT_PT * pt
    boxes = np.concatenate([taken - half, taken + half], axis=1) if len(taken) else np.empty((0, 4))
    found: list[Box | None] = []
    for point, size in zip(points, sizes, strict=True):
        box = _free(point, size, boxes, bounds, pt, np.empty((0, 2)) if others is None else others)
        found.append(box)
        if box is not None:
            boxes = np.concatenate([boxes, [box]])
    return found


def _free(
    point: np.ndarray, size: np.ndarray, boxes: np.ndarray, bounds: Box, pt: float, others: np.ndarray
) -> Box | None:
    for away in _AWAY_PT:
        for across, up in _AROUND:
            x = point[0] + across * away * pt - (0, size[0] / 2, size[0])[1 - across]
            y = point[1] + up * away * pt * (0.8 if across else 1) - (0, size[1] / 2, size[1])[1 - up]
            box = (float(x), float(y), float(x + size[0]), float(y + size[1]))
            inside = bounds[0] <= box[0] and bounds[1] <= box[1] and box[2] <= bounds[2] and box[3] <= bounds[3]
            if inside and not _overlap(box, boxes) and (away > _FAR_PT or _is_nearest(point, box, others)):
                return box
    return None


def _is_nearest(point: np.ndarray, box: Box, others: np.ndarray) -> bool:
    """Say whether no other point is nearer to a label than its own; one at the same place is no other."""
    apart = [np.hypot(*(np.clip(some, box[:2], box[2:]) - some).T) for some in (others, point)]
    return not (apart[0] < apart[1] - _SAME_PX).any()


def _overlap(box: Box, boxes: np.ndarray) -> bool:
    if not len(boxes):
        return False
    across = (boxes[:, 0] < box[2]) & (box[0] < boxes[:, 2])
    up = (boxes[:, 1] < box[3]) & (box[1] < boxes[:, 3])
    return bool((across & up).any())


def along(line: np.ndarray, step: float) -> np.ndarray:
    """Return points on a line, (n, 2), no further than `step` apart."""
    line = line[np.concatenate([[True], (line[1:] != line[:-1]).any(axis=1)])]  # equal points have one place on a front
    if len(line) == 1:
        return line
    pieces = [
        np.linspace(start, end, 2 + int(np.hypot(*(end - start)) / step)) for start, end in itertools.pairwise(line)
    ]
    return np.concatenate(pieces)


class Labels(Artist):
    """The names of some points of a panel."""

    def __init__(
        self,
        ax: Axes,
        points: Sequence[Place],
        texts: Sequence[str],
        taken: Sequence[Place],
        line: Sequence[Place] = (),
        bars: Sequence[tuple[Place, Place]] = (),
    ) -> None:
        """Name `points` of a panel; `taken` are all that no name may cover, `line` joins some: none may cross it.

        Nor may any cross `bars`, told by their ends, but a name may be nearer to one than to its own point.
        """
        super().__init__()
        self.points, self.taken = np.asarray(points, float), np.asarray(taken, float)
        self.line, self.bars = np.asarray(line, float), np.asarray(bars, float)
        self.texts = [Text(text=text, fontsize=FONT_PT, color="0.2", va="bottom", ha="left") for text in texts]
        self.places: list[Box | None] = []
        """Where each text stands, in pixels; None where it found no room."""
        self.set_zorder(5)
        self.set_in_layout(False)
        ax.add_artist(self)

    def draw(self, renderer: RendererBase, *_: Any, **__: Any) -> None:
        """Place the names, and draw those that found room, with a line to points that are further off."""
        ax, figure = self.axes, self.get_figure(root=True)
        if ax is None or figure is None or not self.get_visible() or not self.texts:
            return
        pt = float(np.asarray(renderer.points_to_pixels(1.0)))
        for text in self.texts:
            text.set_figure(figure)
        sizes = np.array([(box.width, box.height) for box in (t.get_window_extent(renderer) for t in self.texts)])
        points = ax.transData.transform(self.points)
        frame = ax.get_window_extent(renderer)
        markers = taken = ax.transData.transform(self.taken)
        if len(self.bars):
            ends = ax.transData.transform(self.bars.reshape(-1, 2)).reshape(-1, 2, 2)
            taken = np.concatenate([taken, *(along(bar, 2 * _POINT_PT * pt) for bar in ends)])
        if len(self.line) > 1:
            taken = np.concatenate([taken, along(ax.transData.transform(self.line), 2 * _POINT_PT * pt)])
        self.places = place(points, sizes, taken, frame.extents, pt, markers)
        for text, point, box in zip(self.texts, points, self.places, strict=True):
            if box is None:
                continue
            self._join(renderer, point, box, pt)
            text.set_position((box[0], box[1]))
            text.draw(renderer)
        self.stale = False

    def _join(self, renderer: RendererBase, point: np.ndarray, box: Box, pt: float) -> None:
        nearest = np.clip(point, box[:2], box[2:])
        if np.hypot(*(nearest - point)) <= _FAR_PT * pt:
            return
        line = Line2D([point[0], nearest[0]], [point[1], nearest[1]], linewidth=0.4, color="0.6")
        figure = self.get_figure(root=True)
        assert figure is not None
        line.set_figure(figure)
        line.draw(renderer)
