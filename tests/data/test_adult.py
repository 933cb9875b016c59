"""UCI Adult: features against the published files, read here a second way."""

import gzip

import numpy as np
import pandas as pd
import pytest
import torch

from audit.data.adult import AGE_BANDS, COLUMNS, NUMERIC, load_adult
from audit.errors import AuditError

ROW = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, "
    "Male, 2174, 0, 40, United-States, <=50K"
)
OTHER = ROW.replace("39,", "50,").replace("Male", "Female").replace("<=50K", ">50K")


def write(folder, train, test=(ROW, OTHER), packed=False):
    """Files as published: the test file has a remark on top and full stops after its labels."""
    texts = {
        "adult.data": "\n".join(train) + "\n\n",
        "adult.test": "|1x3 Cross validator\n" + "".join(f"{line}.\n" for line in test),
    }
    for name, text in texts.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text)


@pytest.fixture(scope="module")
def published(adult_folder):
    """Training rows and test rows as pandas reads them."""
    return tuple(
        pd.read_csv(
            adult_folder / name, header=None, names=COLUMNS, skipinitialspace=True, comment="|"
        )
        for name in ("adult.data.gz", "adult.test.gz")
    )


def test_plain_and_packed_files_are_the_same(tmp_path):
    folders = [tmp_path / "plain", tmp_path / "packed"]
    for folder in folders:
        folder.mkdir()
        write(folder, [ROW, OTHER] * 20, packed=folder.name == "packed")
    plain, packed = (load_adult(folder) for folder in folders)
    assert torch.equal(plain.inputs, packed.inputs)
    assert plain.split_ids() == packed.split_ids()
    assert plain.samples[[0, 39, 40]].tolist() == ["train-00000", "train-00039", "test-00000"]


def test_a_missing_value_and_a_value_of_the_test_file_alone_are_categories(tmp_path):
    write(tmp_path, [ROW, OTHER] * 20)
    before = load_adult(tmp_path).inputs.shape[1]
    unseen = OTHER.replace("United-States", "Peru")
    write(tmp_path, [ROW.replace("State-gov", "?"), OTHER] * 20, [ROW, unseen])
    assert load_adult(tmp_path).inputs.shape[1] == before + 2


def test_a_number_that_never_varies_is_zero_and_finite(tmp_path):
    write(tmp_path, [ROW, OTHER] * 20)
    data = load_adult(tmp_path)
    assert data.inputs[:, NUMERIC.index("capital-loss")].abs().max() == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("39, State-gov", "adult.data' line 3 has 2 columns; expected 15"),
        (ROW + ", 7", "adult.data' line 3 has 16 columns; expected 15"),
        (ROW.replace("<=50K", "rich"), "line 3 has the income 'rich'; expected <=50K or >50K"),
        (ROW.replace("39,", "nan,"), "line 3 has text where a number belongs: age 'nan'"),
        (ROW.replace("2174", "?"), "line 3 has text where a number belongs: capital-gain"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path, line, message):
    write(tmp_path, [ROW, OTHER, line, ROW])
    with pytest.raises(AuditError, match=message):
        load_adult(tmp_path)


def test_files_that_cannot_be_read(tmp_path):
    write(tmp_path, [ROW, OTHER] * 20)
    (tmp_path / "adult.test").unlink()
    with pytest.raises(AuditError, match=r"neither adult\.test nor adult\.test\.gz"):
        load_adult(tmp_path)
    (tmp_path / "adult.test.gz").write_bytes(b"not gzip")
    with pytest.raises(AuditError, match=r"adult\.test\.gz' cannot be read as UCI Adult"):
        load_adult(tmp_path)
    content = gzip.compress(b"|\n" + (ROW + ".\n").encode() * 500)
    (tmp_path / "adult.test.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(AuditError, match="cannot be read as UCI Adult"):
        load_adult(tmp_path)


def test_an_unknown_group_lists_the_known(tmp_path):
    write(tmp_path, [ROW, OTHER] * 20)
    with pytest.raises(AuditError, match="'colour'; expected one of sex, race, age"):
        load_adult(tmp_path, group="sex,colour")


def test_labels_and_crossed_groups_of_the_real_files(adult_folder, published):
    data = load_adult(adult_folder, group="sex,race")
    rows = pd.concat(published, ignore_index=True)
    assert data.labels.tolist() == rows["income"].str.startswith(">50K").astype(int).tolist()
    names = np.array(data.group_names)[data.groups.numpy()]
    assert (names == (rows["sex"] + " × " + rows["race"]).to_numpy()).all()
    assert data.group_names[:2] == ("Female × Amer-Indian-Eskimo", "Female × Asian-Pac-Islander")
    assert data.splits["test"].tolist() == list(range(32561, 48842))


def test_the_scale_of_the_real_files_knows_nothing_of_the_test_part(adult_folder, published):
    data = load_adult(adult_folder)
    train, test = (rows[list(NUMERIC)].to_numpy(dtype=float) for rows in published)
    expected = (np.vstack([train, test]) - train.mean(0)) / train.std(0)
    assert np.allclose(data.inputs[:, : len(NUMERIC)], expected, atol=1e-4)
    both = np.vstack([train, test])
    leaking = (both - both.mean(0)) / both.std(0)
    assert not np.allclose(data.inputs[:, : len(NUMERIC)], leaking, atol=1e-4)


def test_one_hot_categories_of_the_real_files(adult_folder, published):
    data = load_adult(adult_folder)
    one_hot = data.inputs[:, len(NUMERIC) :]
    assert set(one_hot.unique().tolist()) == {0.0, 1.0}
    # Workclass, marital status, occupation, relationship, race, sex and country: one each.
    assert torch.equal(one_hot.sum(1), torch.full((48842,), 7.0))
    assert one_hot[:, 0].sum() == (pd.concat(published)["workclass"] == "?").sum() == 2799


def test_age_bands_of_the_real_files(adult_folder, published):
    data = load_adult(adult_folder, group="age")
    ages = pd.concat(published, ignore_index=True)["age"]
    bands = pd.cut(ages, [0, 24, 39, 59, 200], labels=list(AGE_BANDS))
    assert data.sizes().sum(axis=1).tolist() == bands.value_counts().loc[list(AGE_BANDS)].tolist()
