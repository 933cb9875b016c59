"""Tables are read for what they are: separators, encodings, decimal marks, one type a column."""

import bz2
import gzip
import lzma
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest

from audit.data import load_data
from audit.data.reading import find_separator, read_table
from audit.data.table import load_table
from audit.errors import AuditError

NUMBER = 120


@pytest.fixture
def people():
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "x": generator.normal(size=NUMBER).round(3),
            "age": 18 + generator.permutation(NUMBER),
            "sex": generator.choice(["F", "M"], NUMBER),
            "y": generator.choice(["no", "yes"], NUMBER),
        }
    )


def loaded(path, **asked):
    return load_table(path, **({"target": "y", "group": "sex"} | asked))


def csv(folder, table, **settings):
    path = folder / "t.csv"
    table.to_csv(path, index=False, **settings)
    return path


@pytest.mark.parametrize(
    "settings",
    [
        {"encoding": "utf-8-sig"},
        {"encoding": "utf-16"},
        {"encoding": "utf-16-le"},
        {"encoding": "utf-16-be"},
        {"encoding": "utf-32"},
        {"lineterminator": "\r\n"},
        {"sep": ";"},
        {"sep": "\t"},
        {"sep": "|"},
        {"sep": ";", "decimal": ","},
        {"decimal": ",", "quoting": 1},
        {"encoding": "utf-16", "sep": "\t", "decimal": ","},
    ],
)
def test_every_way_of_writing_csv_gives_the_same_inputs(people, tmp_path, settings):
    plain = loaded(csv(tmp_path, people)).inputs
    np.testing.assert_array_equal(loaded(csv(tmp_path, people, **settings)).inputs, plain)


@pytest.mark.parametrize(
    "name", ["t.csv", "t.parquet", "t.PARQUET", "t.pq", "t.arrow", "t", "t.txt"]
)
@pytest.mark.parametrize("kind", ["parquet", "feather", "stream", "csv", "gzip", "bz2", "xz"])
def test_the_file_says_what_it_is_and_not_its_ending(people, tmp_path, name, kind):
    path, text = tmp_path / name, people.to_csv(index=False).encode()
    arrow = pa.Table.from_pandas(people)
    if kind == "parquet":
        people.to_parquet(path)
    elif kind == "feather":
        pyarrow.feather.write_feather(arrow, path)
    elif kind == "stream":
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, arrow.schema) as stream:
            stream.write_table(arrow)
    else:
        packed: dict[str, Callable[[bytes], bytes]] = {
            "csv": bytes, "gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress
        }  # fmt: skip
        path.write_bytes(packed[kind](text))
    np.testing.assert_array_equal(loaded(path).inputs, loaded(csv(tmp_path, people)).inputs)


def test_western_text_without_a_mark_is_read_and_said(people, tmp_path):
    table = people.replace({"sex": {"F": "féminin"}})
    data = loaded(csv(tmp_path, table, encoding="latin-1"))
    assert data.group_names == ("M", "féminin")
    assert "is not in UTF-8 and was read as Windows-1252" in data.notes[0]
    declared = loaded(csv(tmp_path, table, encoding="latin-1"), encoding="latin-1")
    assert not any("UTF-8" in note for note in declared.notes)


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b;c\n1,5;2,5;3\n", ";"),
        ("a\tb,c\n1\t2\n", "\t"),
        ('a,b\n"1;2",3\n', ","),
        ("a|b|c\n1|2|3\n", "|"),
        ('"a;1",b\n"x;y;z",2\n', ","),
    ],
)
def test_the_separator_is_the_one_of_every_line(text, mark):
    assert find_separator(text) == mark


def test_a_column_has_one_type_however_long_it_is(tmp_path):
    # Enough for pandas to read in parts, which gives 1 beside 01.
    generator = np.random.default_rng(0)
    codes = generator.choice(["01", "02", "03"], 12_000).astype(object)
    codes[-400:] = generator.choice(["01", "2A"], 400)
    table = pd.DataFrame(generator.normal(size=(12_000, 100)).round(2)).assign(
        code=codes, y=generator.choice(["n", "y"], 12_000)
    )
    data = load_table(csv(tmp_path, table), "y", "code", drop="code")
    expected = pd.Series(codes).value_counts().sort_index()
    assert data.group_names == tuple(expected.index)
    assert data.sizes().sum(axis=1).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["01", "1"], ("01", "1")),
        (["1", "1.0"], ("1",)),
        (["9", "10"], ("9", "10")),
        (["TRUE", "True", "false"], ("False", "True")),
        (["Yes", "yes"], ("Yes", "yes")),
        (["1.0", "2.0", ""], ("(missing)", "1", "2")),
        (["a", " ", ""], ("(missing)", "a")),
        (["99999999999999999999", "2"], ("2", "99999999999999999999")),
    ],
)
def test_groups_are_what_the_file_holds(people, tmp_path, values, names):
    table = people.assign(g=[values[row % len(values)] for row in range(NUMBER)])
    data = loaded(csv(tmp_path, table), group="g")
    assert data.group_names == names


def test_classes_are_ordered_as_numbers(people, tmp_path):
    table = people.assign(y=np.arange(NUMBER) % 12 + 1)
    assert loaded(csv(tmp_path, table)).classes == tuple(str(number) for number in range(1, 13))


@pytest.mark.parametrize("mark", ["NA", "?", "-", "NULL", "nan", " "])
def test_a_mark_among_numbers_is_missing_and_said(people, tmp_path, mark):
    ages = people["age"].astype(object).where(people.index != 3, mark)
    data = loaded(csv(tmp_path, people.assign(age=ages)))
    assert data.inputs.shape == (NUMBER, 4)
    assert data.inputs[3, 1] == 0
    column = next(column for column in data.columns if column.name == "age")
    assert (column.kind, column.missing) == ("number", 1)
    assert (f"'{mark}' in the numbers of 'age' was read as missing." in data.notes) == bool(
        mark.strip()
    )


def test_other_text_among_numbers_is_to_be_declared(people, tmp_path):
    ages = people["age"].astype(object).where(people.index != 3, "unknown")
    path = csv(tmp_path, people.assign(age=ages))
    with pytest.raises(
        AuditError, match=r"'age' has numbers in 119 rows and text in 1 .*'unknown'"
    ):
        loaded(path)
    assert loaded(path, missing="unknown").inputs.shape == (NUMBER, 4)
    assert loaded(path, drop="age").inputs.shape == (NUMBER, 3)
    with pytest.raises(AuditError, match="found 'unknown' in the numeric column 'age'"):
        loaded(path, numeric="age")
    with pytest.raises(AuditError, match="the column 'age' has 120 values in 120 rows"):
        loaded(path, categories="age")


def test_numbers_with_more_around_them_are_to_be_declared(people, tmp_path):
    path = csv(tmp_path, people.assign(age=[f"{age} %" for age in people["age"]]))
    with pytest.raises(AuditError, match=r"numbers with more around them .*numeric=age"):
        loaded(path)
    plain = loaded(csv(tmp_path, people)).inputs
    path = csv(tmp_path, people.assign(age=[f"{age} %" for age in people["age"]]))
    np.testing.assert_array_equal(loaded(path, numeric="age").inputs, plain)


def test_codes_are_numbers_where_they_are_declared_so(people, tmp_path):
    path = csv(tmp_path, people.assign(age=[f"{age:03d}" for age in people["age"]]))
    assert loaded(path, numeric="age").inputs.shape == (NUMBER, 4)
    with pytest.raises(AuditError, match=r"'age' has .*if it is numbers, numeric=age"):
        loaded(path)


def test_a_comma_that_could_be_either_is_to_be_declared(people, tmp_path):
    path = csv(tmp_path, people.assign(age=[f"{1000 + age:,}" for age in people["age"]]))
    with pytest.raises(AuditError, match=r"found '1,0\d\d' in the column 'age'.*decimal="):
        loaded(path)
    thousands, decimal = loaded(path, decimal="."), loaded(path, decimal=",")
    mean = {
        name: prepared.mean
        for data in (thousands,)
        for prepared in data.preparation
        for name in [prepared.name]
    }
    assert 1018 <= mean["age"] <= 1138
    assert 1.018 <= next(one.mean for one in decimal.preparation if one.name == "age") <= 1.138
    # One value settles it for the whole file.
    longer = people.assign(age=[f"{1000 + age:,}" for age in people["age"]])
    longer.loc[0, "age"] = "1,234,567"
    assert loaded(csv(tmp_path, longer)).inputs.shape == (NUMBER, 4)


def test_columns_of_parquet_keep_their_types(people, tmp_path):
    path = tmp_path / "t.parquet"
    table = people.assign(
        whole=people["age"].astype("Int64").where(people.index != 1),
        truth=pd.array([True, None] * 60, "boolean"),
        span=pd.to_timedelta(people["age"], unit="D"),
        sex=pd.Categorical(people["sex"], categories=["Z", "M", "F"]),
    ).set_index("sex")
    table.to_parquet(path)
    data = loaded(path)
    kinds = {column.name: (column.kind, column.missing) for column in data.columns}
    assert kinds["whole"] == ("number", 1)
    assert kinds["truth"] == ("number", 60)
    assert kinds["span"] == ("number", 0)
    assert data.group_names == ("F", "M")
    span = next(one for one in data.preparation if one.name == "span")
    assert 18 <= span.mean <= 138


def test_columns_without_a_name_are_left_out_or_named(people, tmp_path):
    path = tmp_path / "t.csv"
    people.to_csv(path)
    data = loaded(path)
    assert data.inputs.shape == (NUMBER, 4)
    assert data.notes[0] == "Column 1 numbers the rows and has no name; it was left out."
    path.write_text(people.to_csv(index=False).replace("\n", ",\n"))
    assert loaded(path).inputs.shape == (NUMBER, 4)


@pytest.mark.parametrize(
    ("header", "group"),
    [
        ("sex, legal", "sex, legal"),
        ("sex, legal", '"sex, legal"'),
        ("sex, legal", 'x,"sex, legal"'),
        (" sex ", "sex"),
        (" sex ", " sex "),
        ("sex+age", "sex+age"),
        ("R&D", '"R&D"'),
        ("R&D", "R%26D"),
        ("a=b", "a=b"),
        ("100%", "100%"),
        ("Straße", "Straße"),
    ],
)
def test_every_header_can_be_named(people, tmp_path, header, group):
    path = csv(tmp_path, people.rename(columns={"sex": header}).assign(x=np.arange(NUMBER) % 2))
    data = load_data(f"table:{path}?target=y&group={group}")
    assert data.attribute.endswith(header)
    assert load_data(data.spec).group_names == data.group_names


@pytest.mark.parametrize("name", ["a?.csv", "50% #1.csv", "a&b=c.csv", "a:b.csv"])
def test_every_file_can_be_named(people, tmp_path, name):
    people.to_csv(tmp_path / name, index=False)
    assert len(load_data(f"table:{tmp_path}/{name}?target=y&group=sex&missing=?,NA")) == NUMBER


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x00", "cannot be read as a table"),
        (b"PK\x03\x04rest", "is a workbook or an archive"),
        (b"x,y,y\n1,2,3\n", "two columns named 'y'"),
        (b"", "cannot be read as a table"),
        (b"\x1f\x8bbroken", "cannot be read as a table"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(AuditError, match=message):
        read_table(tmp_path / "t.csv")


def test_rows_that_end_early_are_missing_at_their_end(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c\n1,2,3\n4,5\n")
    assert read_table(tmp_path / "t.csv").rows["c"].fillna("").tolist() == ["3", ""]


def test_blanks_after_every_separator_belong_to_none(tmp_path):
    (tmp_path / "t.csv").write_text("a, b\n1, F\n2, M\n")
    assert read_table(tmp_path / "t.csv").rows["b"].tolist() == ["F", "M"]
    (tmp_path / "t.csv").write_text("a,b\n1, F\n2,F\n")
    assert read_table(tmp_path / "t.csv").rows["b"].tolist() == [" F", "F"]


def test_target_group_and_unit_as_declared(people, tmp_path):
    table = people.assign(
        y=np.where(people["y"] == "yes", "approved", "zero"),
        sex=np.where(people["sex"] == "F", 2, 1),
        who=np.arange(NUMBER) // 3,
    )
    path = csv(tmp_path, table)
    spec = f"table:{path}?target=y&positive=approved&group=sex,age&unit=who"
    data = load_data(f"{spec}&names:sex=1:male,2:female&bins:age=30,60")
    assert data.classes == ("zero", "approved")
    assert data.group_names[:2] == ("male × under 30", "male × 30 to under 60")
    assert data.units is not None
    for split in ("train", "select"):
        assert not set(data.units[data.indices(split)].tolist()) & set(
            data.units[data.indices("test")].tolist()
        )
    assert load_data(data.spec).split_ids() == data.split_ids()
    ordered = load_data(
        f"{spec}&bins:age=30".replace("positive=approved", "classes=zero,approved,more")
    )
    assert ordered.classes == ("zero", "approved", "more")
    with pytest.raises(AuditError, match="found positive='denied' of y"):
        load_data(f"{spec}&bins:age=30".replace("approved", "denied"))
    with pytest.raises(AuditError, match="names:sex names '9', which the column does not have"):
        load_data(f"{spec}&names:sex=9:other")


def test_numbers_as_they_stand(people, tmp_path):
    path = csv(tmp_path, people)
    data = loaded(path, scale="none", drop="sex")
    np.testing.assert_array_equal(data.inputs.numpy(), people[["x", "age"]].to_numpy(np.float32))
    only_test = load_data(f"table:{path}?target=y&group=sex&scale=none&test=1")
    assert len(only_test.indices("test")) == NUMBER
    with pytest.raises(AuditError, match="no number outside the test split"):
        load_data(f"table:{path}?target=y&group=sex&test=1")


def pay(folder, texts, **asked):
    """What a column with these texts is fed as, as it stands."""
    table = pd.DataFrame({"pay": texts}).assign(
        sex=np.resize(["F", "M"], len(texts)), y=np.resize(["no", "no", "yes", "yes"], len(texts))
    )
    path = csv(folder, table, sep=";")
    return loaded(path, scale="none", drop="sex", **asked).inputs[:3, 0].tolist()


AMOUNTS = np.linspace(100, 60_000, NUMBER).round()


def points(amount, digits):
    return f"{amount:,.{digits}f}".translate(str.maketrans(",.", ".,"))


@pytest.mark.parametrize("digits", [0, 2])
def test_points_between_thousands_are_read_where_commas_are_decimal(tmp_path, digits):
    texts = [points(amount, digits) for amount in AMOUNTS]
    asked = {} if digits else {"decimal": ","}
    assert pay(tmp_path, texts, **asked) == AMOUNTS[:3].tolist()


def test_points_that_may_stand_between_thousands_are_asked_for(tmp_path):
    texts = [*(points(amount, 0) for amount in AMOUNTS), "1.230"]
    with pytest.raises(AuditError, match=r"found '1.230' .* 'pay', which has a decimal point or"):
        pay(tmp_path, texts)
    assert pay(tmp_path, ["1.230", "999", *texts], decimal=".")[:2] == pytest.approx([1.23, 999])
    assert pay(tmp_path, ["1.230", "999", *texts], decimal=",")[:2] == [1230, 999]


def test_decimals_of_three_digits_are_no_thousands(tmp_path):
    fixed = [f"{amount / 1000:.3f}" for amount in AMOUNTS]
    assert pay(tmp_path, fixed) == pytest.approx((AMOUNTS[:3] / 1000).tolist())
    short = [f"{amount / 1000:g}" for amount in AMOUNTS]
    assert pay(tmp_path, short) == pytest.approx((AMOUNTS[:3] / 1000).tolist(), rel=1e-3)


@pytest.mark.parametrize("shown", ["${:,.2f}", "{:,.2f} EUR", "{:,.0f} €"])
def test_declared_amounts_are_read_with_their_thousands(tmp_path, shown):
    texts = [shown.format(amount).replace("EUR", "€") for amount in AMOUNTS]
    asked = {"decimal": "."} if "." not in texts[0] else {}
    assert pay(tmp_path, texts, numeric="pay", **asked) == AMOUNTS[:3].tolist()


def test_a_column_of_both_decimal_commas_and_thousands_is_named(tmp_path):
    table = pd.DataFrame(
        {"a": ["1,5", "2,5"] * 10, "b": ["1,000.5", "2,000"] * 10, "sex": "F", "y": ["n", "y"] * 10}
    )
    with pytest.raises(AuditError, match="found '1,5' in the column 'a'"):
        loaded(csv(tmp_path, table, sep=";"))


def test_the_line_that_excel_names_its_separator_with_is_no_header(tmp_path, people):
    path = tmp_path / "t.csv"
    path.write_text("sep=;\r\n" + people.to_csv(index=False, sep=";"))
    assert list(read_table(path).rows) == list(people)
    assert len(read_table(path).rows) == NUMBER


@pytest.mark.parametrize(
    ("kind", "written"), [("JSON", "records"), ("JSON", "columns"), ("a page or XML", "html")]
)
def test_other_forms_than_rows_are_named(tmp_path, people, kind, written):
    text = people.to_html() if written == "html" else people.to_json(orient=written)
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(AuditError, match=f"is {kind}; save its table as CSV or Parquet"):
        read_table(path)
