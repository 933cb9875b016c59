"""Drawings as SVG: one style, text that stays text, small, with tips and no clash of ids."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from html import escape
from io import BytesIO, StringIO
from textwrap import wrap
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG, RendererSVG
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.transforms import IdentityTransform

from audit.findings.words import CROSSED, named

INK = "#1d2430"
RATE = "weights removed"
"""The label of the axes whose ticks are rates."""
WIDEST = 9.6  # inches
PRINTED = 0.9
"""The share of a sheet's width that the widest takes: no letter in it is under 6.5 points."""
TALLEST = 12.4  # inches: with its caption, a page of the PDF
LEAST_OF_A_PART = 4
"""Letters of each part of a crossed name that are left, or else its end is cut as a whole."""
DOTS = 200
"""Dots an inch of a PNG."""
ALIKE = re.compile(
    r'<path d="[^"]*"((?: clip-path="[^"]*")? style="fill: none; (?![^"]*opacity)[^"]*")/>\n'
    r'(?:<path d="[^"]*"\1/>\n)+'
)
"""Opaque lines of one look, one after the other: the small bars of all points of a line."""
_DRAWN: ContextVar[dict[str, tuple[str, bytes]] | None] = ContextVar("drawn", default=None)
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"],
    "font.size": 9.8,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8c95a3",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e8ebef",
    "xtick.bottom": False,
    "ytick.left": False,
    "xtick.color": "#262626",
    "ytick.color": "#262626",
    "lines.solid_capstyle": "round",
    "patch.edgecolor": "w",
    "patch.force_edgecolor": True,
    "text.color": INK,
    "text.parse_math": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    # Text stays text: the reader's own fonts draw it, in every script, and it can be searched.
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Drawing:
    """A figure ready for the page: its SVG, what it says in words (alt), and its caption.

    groups   those whose lines a reader can pick out, by the class that their lines carry
    """

    svg: str
    alt: str
    caption: str
    groups: Sequence[tuple[str, str]] = ()

    @property
    def share(self) -> float:
        """The share of the page's width that it takes, so that text is of one size in all."""
        return round(min(1.0, self._size[0] / 72 / WIDEST), 3)

    @property
    def printed(self) -> float:
        """The same of a sheet of paper; two that are narrow stand beside one another."""
        return round(PRINTED * self.share, 3)

    @property
    def without_tips(self) -> str:
        """The SVG as it is printed: on paper nobody points at a mark."""
        return re.sub(r'<g class="tips".*?</g>', "", self.svg, flags=re.DOTALL)

    @property
    def height(self) -> float:
        """In points where a figure is widest."""
        return self._size[1]

    @property
    def _size(self) -> tuple[float, float]:
        found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)', self.svg)
        assert found is not None  # every SVG here has one
        return float(found[1]), float(found[2])


@dataclass
class Tips:
    """What a reader sees who points at a mark: titles inside the SVG, without any script."""

    marks: list[tuple[Axes, float, float, str]] = field(default_factory=list)

    def add(self, axis: Axes, x: Any, y: Any, text: str) -> None:
        """A text for the mark at a point of an axis."""
        self.marks.append((axis, float(x), float(y), text))

    def into(self, svg: str, figure: Figure) -> str:
        """The SVG with an invisible circle, a little larger than the mark, at every point."""
        width, height = 72 * figure.get_size_inches()
        to_share = figure.transFigure.inverted()
        circles = []
        for axis, x, y, text in self.marks:
            across, up = to_share.transform(axis.transData.transform((x, y)))
            if np.isfinite(across) and np.isfinite(up):
                place = f'cx="{across * width:.1f}" cy="{(1 - up) * height:.1f}"'
                circles.append(f'<circle {place} r="6"><title>{escape(text)}</title></circle>')
        end = svg.rindex("</svg>")
        return f'{svg[:end]}<g class="tips" fill-opacity="0">{"".join(circles)}</g></svg>'


def svg(
    draw: Callable[[Any, Tips], None],
    rows: int,
    columns: int,
    name: str,
    height: float = 2.5,
    share: Literal["none", "row", "col"] = "none",
    least: float = 6.4,
) -> str:
    """Draw on a grid of axes and return the SVG; its ids carry the name, so that none clash."""
    with mpl.rc_context(STYLE | {"svg.hashsalt": name}), warnings.catch_warnings():
        # A name in a script that the font lacks shows as boxes here; the tables have it whole.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure = Figure(
            figsize=(max(least, min(WIDEST, 5.2 * columns)), min(TALLEST, height * rows)),
            layout="constrained",
        )
        axes = figure.subplots(rows, columns, squeeze=False, sharey=share, sharex=False)
        tips = Tips()
        draw(axes, tips)
        _fit_ticks(axes, figure.get_figwidth() / columns)
        text = _written(figure)
        raster = _raster(figure)
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = _named_apart(text, name)
    text = tips.into(_slim(text), figure)
    drawn = _DRAWN.get()
    if drawn is not None:
        drawn[name] = (text, raster)
    return text


def _written(figure: Figure) -> str:
    """The figure as matplotlib writes it; `savefig` would draw one that has a layout twice."""
    FigureCanvasSVG(figure)  # by whose letters the layout is made
    figure.dpi = 72
    buffer = StringIO()
    width, height = 72 * figure.get_size_inches()
    renderer = _Renderer(  # type: ignore[no-untyped-call]
        width, height, buffer, image_dpi=72, metadata={"Date": None}
    )
    figure.draw(renderer)
    renderer.finalize()  # type: ignore[no-untyped-call]
    return buffer.getvalue()


class _Renderer(RendererSVG):
    """Writes the marks of a line as one path: every element of a figure costs a PDF time."""

    def draw_markers(
        self,
        gc: Any,
        marker_path: Any,
        marker_trans: Any,
        path: Any,
        trans: Any,
        rgbFace: Any = None,
    ) -> None:
        mark = marker_path.transformed(marker_trans)
        places = trans.transform(path.vertices)
        marks = [
            Path(mark.vertices + place, mark.codes) for place in places if np.isfinite(place).all()
        ]
        if marks:
            together = Path.make_compound_path(*marks)
            self.draw_path(gc, together, IdentityTransform(), rgbFace)  # type: ignore[no-untyped-call]


@contextmanager
def rastered() -> Iterator[dict[str, tuple[str, bytes]]]:
    """Keep what is drawn meanwhile, by its name: as SVG, and as PNG on white."""
    drawn: dict[str, tuple[str, bytes]] = {}
    token = _DRAWN.set(drawn)
    try:
        yield drawn
    finally:
        _DRAWN.reset(token)


def _raster(figure: Figure) -> bytes:
    if _DRAWN.get() is None:
        return b""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _named_apart(svg: str, name: str) -> str:
    """Ids that start with the figure's name: two figures on a page would clash. Unused ones go."""
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))

    def own(found: re.Match[str]) -> str:
        identity = found[1]
        if identity.startswith(f"{name}-"):
            return found[0]
        return f' id="{name}-{identity}"' if identity in used else ""

    svg = re.sub(r' id="([^"]+)"', own, svg)
    return re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)


def _slim(svg: str) -> str:
    """The same picture of fewer elements, with coordinates to a hundredth of a point."""
    svg = re.sub(r"(?<=[ML ])-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", svg)
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    svg = re.sub(r'<g/>\n|<path d="[^"]*" style="fill: none"/>\n', "", svg)
    svg = ALIKE.sub(_as_one, svg)
    # Groups that say nothing, from the innermost outwards.
    bare = re.compile(r"<g>((?:(?!</?g[ >]).)*)</g>\n", re.DOTALL)
    while bare.search(svg):
        svg = bare.sub(r"\1", svg)
    return svg


def _as_one(found: re.Match[str]) -> str:
    """Strokes that look the same, one after the other, as one path."""
    lines = re.findall(r' d="([^"]*)"', found[0])
    return f'<path d="{"".join(lines)}"{found[1]}/>\n'


def _fit_ticks(axes: Any, width: float) -> None:
    """Stand the names of the rates upright where a panel of so many inches is too narrow."""
    for axis in axes.flat:
        labels = [label.get_text() for label in axis.get_xticklabels()]
        if axis.get_xlabel() == RATE and len(labels) > 1.8 * width:
            axis.tick_params(axis="x", labelrotation=90)


def short(name: object, most: int) -> str:
    """A name cut to a length that a figure can hold, on one line; a crossed one part by part.

    >>> short("Amer-Indian-Eskimo × Female", 22)
    'Amer-Indian-… × Female'
    """
    text = _on_one_line(name)
    parts = text.split(CROSSED)
    for longest in range(max(map(len, parts)), LEAST_OF_A_PART, -1):
        found = CROSSED.join(_cut(part, longest) for part in parts)
        if len(found) <= most:
            return found
    return _cut(text, most)


def distinct(names: Iterable[object], most: int) -> list[str]:
    """Names cut as `short` does; those that would look alike lose their middle, or nothing."""
    whole = [_on_one_line(name) for name in names]
    found = [short(name, most) for name in whole]
    for cut in (_cut_inside, lambda text, _: text):
        alike = {text for text, number in Counter(found).items() if number > 1}
        pairs = zip(whole, found, strict=True)
        found = [cut(text, most) if own in alike else own for text, own in pairs]
    return found


def heading(name: object, panels: int) -> str:
    """A name over one of so many panels side by side, on two lines where it needs them."""
    letters = round(70 / panels)
    return "\n".join(wrap(short(name, 2 * letters), letters))


def _on_one_line(name: object) -> str:
    return named(" ".join(str(name).split()))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _cut_inside(text: str, most: int) -> str:
    half = most // 2
    return text if len(text) <= most else f"{text[: most - half - 1]}…{text[-half:]}"
