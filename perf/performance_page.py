"""What ``make perf`` writes for readers: a table between markers of ``docs/performance.md``, and a drawing of costs."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from perf.figures import CPU_SECONDS, MEGABYTES
from pipeline.errors import Refusal
from pipeline.reporting.charts import Chart, charts
from pipeline.reporting.curves import Curve

BEGIN, END = "<!-- written by make perf -->", "<!-- end of what make perf wrote -->"
WIDTH, HEIGHT, LEFT, TOP, GAP = 300, 180, 60, 30, 130  # px, of a plot and of what is around it
COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7b4b94", "#8a6d1f", "#555555")
SHOWN = {MEGABYTES: "{:.0f} MB", CPU_SECONDS: "{:.1f} CPU s"}
WORDS = {True: "yes", False: "**no**", None: "-"}
Costs = dict[str, list[tuple[int, float, float]]]


def table(report: dict[str, Any]) -> str:
    """The rows as Markdown; times on the clock stand there as ratios alone."""
    lines = [
        f"{report['date']}, {report['machine']}; " + ", ".join(f"{k} {v}" for k, v in report["versions"].items()) + ".",
        "",
        "| row | ours | beside | ratio (spread) | goal | met |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(_cells(row))} |" for row in report["rows"]]
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> list[str]:
    goal, met = "-" if row["goal"] is None else f"{row['goal']:g}", WORDS[row["met"]]
    if "failed" in row:
        return [row["name"], "-", "-", f"not measured: {row['failed']}", goal, met]
    shown = SHOWN.get(row["unit"])
    ours = shown.format(row["ours"]) if shown else "-"
    beside = row.get("peer_name") or (f"limit {shown.format(row['limit'])}" if shown else "limit")
    low, high = row["spread"]
    spread = "" if low == high else f" ({low:.2f} to {high:.2f})"
    return [row["name"], ours, beside, f"{row['ratio']:.2f}{spread}", goal, met]


def with_table(page: str, text: str) -> str:
    """The page with the table between its markers.

    Raises:
        Refusal: the page has no markers.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise Refusal(f"docs/performance.md: has no lines '{BEGIN}' and '{END}'; put them where the table shall stand")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def write_drawing(path: Path, costs: Costs) -> None:
    """Draw peak memory and seconds of each stage against its rows; seconds as shares of the longest."""
    longest = max((seconds for points in costs.values() for _, seconds, _ in points), default=1.0)
    curves = []
    for stage, points in costs.items():
        memory = tuple((size, peak / 1e6) for size, _, peak in points)
        time = tuple((size, seconds / longest) for size, seconds, _ in points)
        curves += [
            Curve(f"memory/{stage}", "peak, MB", memory),
            Curve(f"time/{stage}", "seconds, of the longest", time),
        ]
    plots = [_plot(chart, LEFT + number * (WIDTH + GAP)) for number, chart in enumerate(charts(curves))]
    width, height = LEFT + len(plots) * (WIDTH + GAP), TOP + HEIGHT + 40
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head} font-size="11">\n' + "\n".join(plots) + "\n</svg>\n")


def _plot(chart: Chart, left: float) -> str:
    """One chart in a frame, labels of its ticks around it, names of its curves to the right."""
    parts = [
        f'<g transform="translate({left} {TOP})"><text x="0" y="-12">{escape(chart.name)}; rows below</text>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#bbb"/>',
    ]
    for tick in chart.x_ticks:
        x = tick.percent * WIDTH / 100
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT + 16}" text-anchor="middle">{escape(tick.label)}</text>')
    for tick in chart.y_ticks:
        y = tick.percent * HEIGHT / 100 + 4
        parts.append(f'<text x="-6" y="{y:.1f}" text-anchor="end">{escape(tick.label)}</text>')
    for number, line in enumerate(chart.lines):
        colour, y = COLOURS[number % len(COLOURS)], 12 + 15 * number
        parts.append(
            f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 100 100" preserveAspectRatio="none"><path '
            f'd="{line.path}" fill="none" stroke="{colour}" stroke-width="2" vector-effect="non-scaling-stroke"/></svg>'
        )
        name = escape(line.model.split("/")[-1])
        parts.append(f'<text x="{WIDTH + 6}" y="{y}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</g>"])
