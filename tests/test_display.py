"""What objects show of themselves in a notebook: the right numbers, escaped, without colours."""

from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
import torch

import audit
from audit import display
from audit.models import Architecture, Parent, Provenance, build_model, make_checkpoint

HOSTILE = (
    "<script>alert(1)</script>",
    "\"quotes' & <b>x</b>",
    "\u202eright to left",
    "😀",
    "a" * 300,
)
TAGS = {
    "div",
    "p",
    "strong",
    "ul",
    "li",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "details",
    "summary",
}


class Page(HTMLParser):
    """The texts of table cells by row, all texts, and the tags and attributes of a piece of HTML."""

    def __init__(self, thing):
        super().__init__()
        self.rows, self.texts, self.tags, self.attributes = [], [], set(), set()
        self.in_cell = False
        self.feed(thing if isinstance(thing, str) else thing._repr_html_())

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        self.texts.append(data)
        if self.in_cell:
            self.rows[-1][-1] += data

    def row(self, name):
        return next(row for row in self.rows if row[0] == name)


def make_pruned(data, **provenance):
    architecture = Architecture("mlp", data.input_shape, len(data.classes), {"width": 4})
    model = build_model(architecture)
    weights = {n: w for n, w in model.named_parameters() if w.dim() == 2}
    mask = audit.Mask({n: torch.arange(w.numel()).view_as(w) % 4 == 0 for n, w in weights.items()})
    mask.apply(model)
    made = Provenance("magnitude", rate=0.8, seed=3, steps=1234, **provenance)
    return make_checkpoint(model, architecture, data, made, dict(mask.parts))


def test_data_show_the_sizes_of_every_group_and_split(two_groups):
    page = Page(replace(two_groups, notes=("Five rows had no age.",)))
    sizes = two_groups.sizes()
    assert page.row("few") == ["few", *map(str, sizes.loc["few"])]
    assert page.row("many") == ["many", *map(str, sizes.loc["many"])]
    assert "Five rows had no age." in page.texts
    assert "two groups" in page.texts


def test_a_mask_shows_its_measured_sparsity_and_that_of_every_layer():
    page = Page(audit.Mask({"a": torch.arange(8) < 2, "b": torch.arange(1000) >= 0}))
    assert "Mask, sparsity 0.60%" in page.texts
    assert "1,002 of 1,008 prunable weights survive" in page.texts
    assert page.row("a") == ["a", "8", "2", "75.00%", "█" * 15 + "░" * 5]
    assert page.row("b") == ["b", "1,000", "1,000", "0.00%", "░" * 20]


def test_a_checkpoint_shows_what_it_measures_not_what_was_asked_for(two_groups):
    page = Page(make_pruned(two_groups, parent=Parent("../dense.pt", "0" * 64), notes=("A note.",)))
    assert page.row("sparsity, measured")[1] == "75.00% (asked for: 0.8)"
    assert page.row("network")[1] == "mlp, width 4"
    assert page.row("optimisation steps")[1] == "1,234"
    assert page.row("dense parent")[1] == "../dense.pt"
    assert page.row("groups")[1] == "2 by size"
    assert "A note." in page.texts


def test_a_checkpoint_whose_removed_weights_came_back_is_not_called_sparse(two_groups):
    pruned = make_pruned(two_groups)
    state = {name: torch.ones_like(value) for name, value in pruned.state.items()}
    assert replace(pruned, state=state).sparsity == 0.0
    assert replace(pruned, mask=None).sparsity is None


@pytest.mark.parametrize("name", HOSTILE)
def test_names_from_files_are_escaped(two_groups, name):
    data = replace(
        two_groups, name=name, attribute=name, group_names=(name, "x"), notes=(name,),
        spec={"dataset": name},
    )  # fmt: skip
    pruned = make_pruned(data, notes=(name,))
    mask = audit.Mask({name: torch.ones(2, dtype=torch.bool)})
    for thing in (data, pruned, mask):
        page = Page(thing)
        assert page.tags <= TAGS
        assert page.attributes <= {"class", "border", "style"}
        assert name in "".join(page.texts)


def test_nothing_fixes_a_colour(two_groups):
    for thing in (two_groups, make_pruned(two_groups)):
        assert "color" not in thing._repr_html_()
        assert "background" not in thing._repr_html_()


def test_long_tables_lose_their_middle():
    text = display.table(pd.DataFrame({"value": range(10_000)}))
    assert len(Page(text).rows) < 60
    assert len(text) < 10_000


def test_many_sentences_are_folded_and_none_is_lost():
    page = Page(display.sentences([f"sentence {place}" for place in range(20)]))
    assert [text for text in page.texts if "more" in text] == ["12 more"]
    assert {f"sentence {place}" for place in range(20)} <= set(page.texts)
    assert "details" not in Page(display.sentences(["one"])).tags
    assert display.sentences([]) == ""


def test_a_console_gets_one_line(two_groups):
    pruned = make_pruned(two_groups)
    assert repr(two_groups) == "GroupedData('two groups': 400 samples, 2 groups by 'size')"
    assert repr(pruned) == "Checkpoint('mlp', 'magnitude', sparsity 75.00%)"
    assert repr(audit.Mask(pruned.mask)) == "Mask(sparsity 75.00%, 3 layers)"
