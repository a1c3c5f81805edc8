"""Names of lines, in small type at their ends: one that would lie over another is left out."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.text import Annotation
from matplotlib.transforms import IdentityTransform

from hvt_bench.plots import style


class Aside(Annotation):
    """A name that gives way to those written before it: when it is drawn, since only then their places are known."""

    def __init__(self, ax: Axes, text: str, at: tuple[float, float], **how: Any) -> None:
        """Write `text` at a place of a panel; `how` are arguments of Annotation."""
        super().__init__(
            text,
            at,
            textcoords="offset points",
            fontsize=6,
            color=style.GREY,
            annotation_clip=False,
            clip_on=False,
            **how,
        )
        self.set_transform(IdentityTransform())
        self.shown = True
        """Whether it had room when it was last drawn."""
        ax.add_artist(self)

    def draw(self, renderer: RendererBase) -> None:
        """Draw it where no earlier one stands."""
        assert self.axes is not None
        written = [text for text in self.axes.texts if isinstance(text, Aside)]
        before = [text for text in written[: written.index(self)] if text.shown]
        box = self.get_window_extent(renderer)
        self.shown = not any(box.overlaps(text.get_window_extent(renderer)) for text in before)
        if self.shown:
            super().draw(renderer)


def write_beside(ax: Axes, y: float, text: str, va: str = "center") -> None:
    """Name a level right of a panel."""
    Aside(ax, text, (1, y), xycoords=("axes fraction", "data"), xytext=(2, 0), va=va)


def write_above(ax: Axes, x: float, text: str) -> None:
    """Name a place above a panel."""
    Aside(ax, text, (x, 1), xycoords=("data", "axes fraction"), xytext=(0, 1), ha="center", va="bottom")


def write_at(ax: Axes, at: tuple[float, float], text: str) -> None:
    """Name a line inside a panel, right above it from its left end."""
    Aside(ax, text, at, xytext=(3, 1.5))
