"""Prints the list of metrics that docs/definitions.md ends with: python docs/metrics.py."""

from audit.metrics import METRICS, Metric

HEAD = ("name", "title", "unit", "better", "definition", "needs")


def rows() -> list[str]:
    """The lines of a Markdown table of every metric, from audit/metrics.py."""
    head = [f"| {' | '.join(HEAD)} |", "| --- " * len(HEAD) + "|"]
    return head + [_row(one) for one in METRICS.values()]


def _row(one: Metric) -> str:
    name = f"{one.name}_k" if one.name == "hessian_eigenvalue" else one.name
    better = {None: "", True: "lower", False: "higher"}[one.lower_is_better]
    needs = ", ".join(one.needs)
    number = one.definition.number or one.definition.term.lower()
    return f"| `{name}` | {one.title} | {one.unit} | {better} | {number} | {needs} |"


if __name__ == "__main__":
    print("\n".join(rows()))
