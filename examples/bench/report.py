"""Figures as a person reads them: medians, least and most, ratios; and the same as JSON."""

import json
import statistics


def median(values):
    return statistics.median(values)


def spread(values, digits=1):
    """`median (least–most)`."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


class Report:
    """Prints as it goes and keeps every figure."""

    def __init__(self):
        self.figures = {}

    def title(self, text):
        print(f"\n== {text}", flush=True)

    def say(self, text=""):
        print(text, flush=True)

    def keep(self, name, value):
        self.figures[name] = value

    def table(self, heads, rows):
        rows = [[str(cell) for cell in row] for row in rows]
        widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
        for row in [heads, ["-" * width for width in widths], *rows]:
            first, *others = (cell.ljust(width) if at == 0 else cell.rjust(width)
                              for at, (cell, width) in enumerate(zip(row, widths)))
            print("  " + "  ".join([first, *others]).rstrip(), flush=True)

    def goal(self, text, reached):
        print(f"  goal: {text}: {'reached' if reached else 'MISSED'}", flush=True)

    def save(self, path):
        with open(path, "w") as file:
            json.dump(self.figures, file, indent=1, sort_keys=True)
            file.write("\n")
