"""Writes the pictures of the README and of the benchmarks from results that lie on this machine.

python docs/figures.py                    the digits, from reports/demo, after `make demo`
python docs/figures.py FOLDER NAME        of a study in FOLDER: NAME-rates.svg, the methods against
                                          the rate, and NAME-trade-off.svg, at the highest rate
"""

import sys
from pathlib import Path

from audit import load_results
from audit.files import write_atomically
from audit.report.view import make_view

ROOT = Path(__file__).parents[1]
PAGE = '<rect width="100%" height="100%" fill="white"/>'


def on_paper(svg: str, name: str) -> None:
    """Write a figure of a report on white paper."""
    start = svg.index(">") + 1
    path = ROOT / "docs" / "images" / f"{name}.svg"
    write_atomically(path, svg[:start] + PAGE + svg[start:])
    print(f"wrote {path.relative_to(ROOT)}")


def main() -> None:
    """Draw the digits, or the study that the command line names."""
    folder, name = sys.argv[1:3] if len(sys.argv) == 3 else (ROOT / "reports" / "demo", "")
    groups, rates, trade_off = make_view(load_results(Path(folder))).sections[0].figures[:3]
    if not name:
        on_paper(groups.svg, "digits")
        return
    on_paper(rates.svg, f"{name}-rates")
    on_paper(trade_off.svg, f"{name}-trade-off")


if __name__ == "__main__":
    main()
