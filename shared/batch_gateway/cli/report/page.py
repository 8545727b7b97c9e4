"""A report as one page of HTML, with everything that it needs in it."""

from html import escape
from typing import TYPE_CHECKING

from batch_gateway.cli.batches.printing import instant

if TYPE_CHECKING:
    from batch_gateway.cli.report.content import Report, ReportSection

_WIDTH, _HEIGHT = 720, 160
_MOST_BARS = 360

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 760px; margin: 2rem auto; padding: 0 1rem;
       color: #1b1f24; background: #fff; }
h1 { font-size: 1.2rem; overflow-wrap: anywhere; } h2 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #d0d7de; }
th { font-weight: 600; } td { overflow-wrap: anywhere; } .completed { fill: #1a7f37; }
.failed { fill: #cf222e; } figcaption { color: #57606a; }
@media (prefers-color-scheme: dark) { body { color: #e6edf3; background: #0d1117; } }
"""


def page(report: "Report") -> str:
    """Every text of the batch is escaped; nothing is loaded from elsewhere."""
    name = escape(report.batch["id"])
    sections = "\n".join(map(_table, report.sections()))
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{name}</title><style>{_STYLE}</style></head>
<body>
<h1>{name}</h1>
<p>{escape(report.heading)}</p>
{_figure(report)}
{sections}
</body>
</html>
"""


def _table(section: "ReportSection") -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in section.columns)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in section.rows
    )
    return f"<h2>{escape(section.title)}</h2>\n<table>\n<tr>{head}</tr>\n{rows}\n</table>"


def _figure(report: "Report") -> str:
    """Finished requests over time as bars; nothing where there are fewer than two points."""
    points = list(report.timeline())
    if len(points) < 2:
        return ""
    step = -(-len(points) // _MOST_BARS)
    bars = [
        (
            sum(point["completed"] for point in points[at : at + step]),
            sum(point["failed"] for point in points[at : at + step]),
        )
        for at in range(0, len(points), step)
    ]
    most = max(good + bad for good, bad in bars) or 1
    width = _WIDTH / len(bars)
    shapes = []
    for at, (good, bad) in enumerate(bars):
        top = float(_HEIGHT)
        for kind, count in (("completed", good), ("failed", bad)):
            height = count / most * _HEIGHT
            top -= height
            if count:
                shapes.append(
                    f'<rect class="{kind}" x="{at * width:.1f}" y="{top:.1f}" '
                    f'width="{max(width - 0.5, 0.5):.1f}" height="{height:.1f}"/>'
                )
    first, last = instant(points[0]["start_time"]), instant(points[-1]["start_time"])
    told = f"Finished requests, {first} to {last}; most in {report.interval_s * step} s: {most}"
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{told}">'
        f"{''.join(shapes)}</svg><figcaption>{told}</figcaption></figure>"
    )
