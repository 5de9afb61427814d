"""A line chart as SVG, readable on light and dark pages."""
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 64, 176, 16, 48
COLOURS = ["#0b6bcb", "#c2410c", "#7c3aed", "#15803d", "#6b7280"]


def nice_step(most: float) -> float:
    """So that about five lines cross the picture, at round numbers."""
    step = 1.0
    while most / step > 5:
        step *= 2.5 if str(step).lstrip("0.")[0] == "2" else 2
    while most / step < 2.5:
        step /= 2
    return step


def lines(series: dict[str, list[tuple[float, float]]], x_label: str, y_label: str) -> str:
    """x is spaced by its logarithm to the base two, as batch sizes are."""
    import math
    xs = sorted({x for points in series.values() for x, _ in points})
    most = max(y for points in series.values() for _, y in points) * 1.05
    low, high = math.log2(xs[0]), math.log2(xs[-1]) if len(xs) > 1 else math.log2(xs[0]) + 1

    def place(x: float, y: float) -> tuple[float, float]:
        return (LEFT + (math.log2(x) - low) / (high - low) * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / most * (HEIGHT - TOP - BOTTOM))

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" font-size="12" fill="#6b7280">']
    step = nice_step(most)
    for i in range(int(most / step) + 1):
        _, y = place(xs[0], i * step)
        out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#6b7280" stroke-opacity=".25"/>'
                   f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{i * step:g}</text>')
    for x in xs:
        out.append(f'<text x="{place(x, 0)[0]:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:g}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>')
    out.append(f'<text transform="translate(14 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')
    for (name, points), colour in zip(series.items(), COLOURS):
        path = "L".join("{:.1f} {:.1f}".format(*place(x, y)) for x, y in sorted(points))
        out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2.5" stroke-linejoin="round"/>')
        out += ['<circle cx="{:.1f}" cy="{:.1f}" r="3.5" fill="{}"/>'.format(*place(x, y), colour) for x, y in points]
    # Names beside the ends of their lines, pushed apart where they would touch.
    last = -1e9
    for y, name, colour in sorted((place(*max(points))[1], name, colour) for (name, points), colour in zip(series.items(), COLOURS)):
        last = max(y, last + 15)
        out.append(f'<text x="{WIDTH - RIGHT + 8}" y="{last + 4:.1f}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>", ""])
