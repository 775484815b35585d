"""The plot: one panel for each workload, one bar for each peer, as a small SVG without a library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from bench.peers.model import LIMIT, OURS
from bench.summary import Figures

_COLUMNS, _PANEL, _GAP = 2, 520, 24
_LABEL, _ROW, _HEAD = 236, 17, 34
_COLOURS = {OURS: "#1b7f4b", LIMIT: "#c9c9c9"}
_OTHER = "#6f8fb5"

Row = tuple[str, str, Figures]
"""Title, kind, figures."""


def svg(panels: Mapping[str, Sequence[Row]]) -> str:
    """Return the whole picture; a bar is the median, the thin line the lowest and highest repeat."""
    parts, height = [], _GAP
    titles = list(panels)
    for start in range(0, len(titles), _COLUMNS):
        line = titles[start : start + _COLUMNS]
        for column, title in enumerate(line):
            left = _GAP + column * (_PANEL + _GAP)
            parts.append(f'<g transform="translate({left},{height})">{_panel(title, panels[title])}</g>')
        height += max(len(panels[title]) for title in line) * _ROW + _HEAD + _GAP
    width = _COLUMNS * (_PANEL + _GAP) + _GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11" fill="#222"><rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(title: str, rows: Sequence[Row]) -> str:
    most = max((figures.highest for _, _, figures in rows), default=0) or 1
    scale = (_PANEL - _LABEL - 52) / most
    parts = [f'<text y="12" font-size="13" font-weight="bold">{escape(title)}</text>']
    for number, (name, kind, figures) in enumerate(rows):
        top = _HEAD - 10 + number * _ROW
        middle = top + _ROW / 2
        end = _LABEL + figures.highest * scale
        parts += [
            f'<text x="{_LABEL - 6}" y="{middle + 4:.1f}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LABEL}" y="{top + 3}" width="{figures.rate * scale:.1f}" height="{_ROW - 5}" '
            f'fill="{_COLOURS.get(kind, _OTHER)}"/>',
            f'<path d="M{_LABEL + figures.lowest * scale:.1f} {middle:.1f}H{end:.1f}" stroke="#222"/>',
            f'<text x="{end + 5:.1f}" y="{middle + 4:.1f}">{figures.rate:,.0f}</text>',
        ]
    return "".join(parts)
