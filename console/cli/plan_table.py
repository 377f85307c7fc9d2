"""The figures of a plan as a table, each with its value, its basis and its source."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from console.planning.figures import Basis, Figure
from console.planning.plan import Plan

_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_LINK = re.compile(r"https://[^ ,]+")
_MAX_VALUE, _MIN_FIGURE = 14, 16  # widths of columns
_SCALED = frozenset({"B", "B/s", "b/s", "FLOP", "FLOP/s"})


def numbered_links(plan: Plan) -> dict[str, int]:
    """The links of all sources, numbered from 1 on as they come."""
    links: dict[str, int] = {}
    for section in plan.sections:
        for link in (link for figure in section.figures for link in _LINK.findall(figure.source)):
            links.setdefault(link, len(links) + 1)
    return links


def figure_table(plan: Plan, links: Mapping[str, int], width: int = 80) -> Table:
    """One row for each figure, in this width. A link is replaced by its number. Breaks no word of a source: those are
    names of files and keys.
    """
    sources = {
        figure: _LINK.sub(lambda link: f"[{links[link[0]]}]", figure.source)
        for section in plan.sections
        for figure in section.figures
    }
    longest_word = max(len(word) for source in sources.values() for word in source.split())
    used = _MAX_VALUE + max(map(len, Basis)) + longest_word + 3  # a blank between two columns
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("figure", max_width=max(_MIN_FIGURE, width - used))
    table.add_column("value", max_width=_MAX_VALUE, justify="right")
    table.add_column("basis", no_wrap=True)
    table.add_column("source", min_width=longest_word)
    for section in plan.sections:
        table.add_row(Text(section.title, style="bold"))
        for figure in section.figures:
            name = Padding(Text(figure.name), (0, 0, 0, 2))
            table.add_row(name, Text(amount(figure)), figure.basis.value, Text(sources[figure]))
    return table


def amount(figure: Figure) -> str:
    """The value with its unit, rounded to three digits."""
    if figure.unit in _SCALED:
        scale, prefix = next((row for row in _PREFIXES if figure.value >= row[0]), (1.0, ""))
        return f"{figure.value / scale:.3g} {prefix}{figure.unit}"
    value = f"{figure.value:,.0f}" if figure.value >= 100 else f"{figure.value:.3g}"
    return f"{value} {figure.unit}".strip()
