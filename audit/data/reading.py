"""Tables from files, read for what they are: CSV of any separator and encoding, Parquet, Arrow."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import lzma
import re
import warnings
import zlib
from collections import Counter
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path

import pandas as pd

from audit.data.columns import named
from audit.errors import AuditError
from audit.limits import check_size, largest_bytes

SEPARATORS = (",", ";", "\t", "|")
VALUE_BYTES = 16
LOOKED_AT = 200
"""So many lines of a file say what separates its columns."""
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
BROKEN = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, csv.Error)
NAMED_SEPARATOR = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
"""The line with which Excel says what separates the columns below."""
OTHER_FORM = re.compile(
    r"\s*(\[\s*[\[{]|{\s*[\"}]|<(?:!doctype|html|\?xml|table)\b)", re.IGNORECASE
)
"""How JSON and pages begin."""
WORDS = {"tab": "\t", "semicolon": ";", "comma": ",", "pipe": "|", "space": " "}


@dataclass(frozen=True)
class Table:
    """What a file holds: its rows, and in sentences how it was read, where that is not plain.

    The columns of a CSV file are text as it stands in the file; others have their own types.
    """

    rows: pd.DataFrame
    notes: tuple[str, ...] = ()


def read_table(file: Path, separator: str = "", encoding: str = "") -> Table:
    """The rows of a table, by what its file is and not by its ending, gzipped or not.

    separator   of a CSV file, if it is not to be found: a character, or tab, semicolon, …
    encoding    of a CSV file, if it is not to be found

    Raises AuditError where the file is missing, is no table, has no rows, or has two columns of
    one name.
    """
    if not file.is_file():
        raise AuditError(f"there is no file '{file}'; expected a table in .csv or .parquet")
    try:
        content = _unpacked(file.read_bytes(), file)
        found = _binary(content, file) or _read_text(content, file, separator, encoding)
    except BROKEN as error:
        cause = " ".join(str(error).split())
        raise AuditError(f"'{file}' cannot be read as a table: {cause}") from error
    return Table(named(found.rows, f"'{file}'"), found.notes)


PACKED = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open))


def _unpacked(content: bytes, file: Path) -> bytes:
    for mark, opened in PACKED:
        if content.startswith(mark):
            with opened(BytesIO(content), "rb") as stream:
                found: bytes = stream.read(largest_bytes() + 1)
            check_size(file, len(found))
            return found
    return content


def _check_parquet(content: bytes, file: Path) -> None:
    """Equal values are stored once: how many there are says what they take, not their bytes."""
    from pyarrow.parquet import ParquetFile

    found = ParquetFile(BytesIO(content)).metadata
    stored = sum(found.row_group(k).total_byte_size for k in range(found.num_row_groups))
    check_size(file, max(stored, found.num_rows * found.num_columns * VALUE_BYTES))


def _batched(content: bytes, file: Path, stream: bool) -> pd.DataFrame:
    """The rows of Arrow's formats, whose batches may be packed: counted one by one."""
    import pyarrow as pa

    if stream:
        batches = iter(pa.ipc.open_stream(content))
    else:
        reader = pa.ipc.open_file(content)
        batches = (reader.get_batch(k) for k in range(reader.num_record_batches))
    kept, size = [], 0
    for batch in batches:
        size += batch.nbytes
        check_size(file, size)
        kept.append(batch)
    return pa.Table.from_batches(kept).to_pandas() if kept else pd.DataFrame()


def _binary(content: bytes, file: Path) -> Table | None:
    """The rows of a file that is no text: Parquet, Arrow (also called Feather), Excel."""
    if content[:4] == b"PAR1":
        _check_parquet(content, file)
        return Table(_with_index(pd.read_parquet(BytesIO(content))))
    if content[:6] == b"ARROW1":
        return Table(_with_index(_batched(content, file, stream=False)))
    if content[:4] == b"FEA1":
        return Table(_with_index(pd.read_feather(BytesIO(content))))
    if content[:4] == b"\xff\xff\xff\xff":
        return Table(_with_index(_batched(content, file, stream=True)))
    if content[:4] == b"PK\x03\x04":
        raise AuditError(f"'{file}' is a workbook or an archive; save its sheet as CSV or Parquet")
    return None


def _with_index(rows: pd.DataFrame) -> pd.DataFrame:
    """A named index is a column like any other."""
    named = any(name is not None for name in rows.index.names)
    return rows.reset_index(drop=not named)


def _read_text(content: bytes, file: Path, separator: str, encoding: str) -> Table:
    text, note = _decoded(content, file, encoding)
    _check_rows(text, file)
    named = NAMED_SEPARATOR.match(text)
    if named:
        text, separator = text[named.end() :], separator or named[1]
    sample = text[: 2**20].splitlines(keepends=True)[:LOOKED_AT]
    mark = WORDS.get(separator, separator) or find_separator("".join(sample))
    if len(mark) != 1:
        raise AuditError(f"found separator '{separator}'; expected one character, or tab")
    with warnings.catch_warnings():
        # Rows longer than the header lose their end, or shift every column.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        rows = pd.read_csv(
            StringIO(text),
            sep=mark,
            dtype=str,
            keep_default_na=False,
            na_filter=False,
            index_col=False,
            header=None,
            skipinitialspace=_spaced(sample, mark),
        )
    header = [str(name) for name in rows.iloc[0]] if len(rows) else []
    rows = rows.iloc[1:].reset_index(drop=True).set_axis(header, axis=1)
    rows, dropped = _without_nameless(rows)
    return Table(rows, (*note, *dropped))


def _check_rows(text: str, file: Path) -> None:
    """Raise AuditError where a text is of another form than rows."""
    form = OTHER_FORM.match(text)
    if form:
        kind = "JSON" if form[1][0] in "[{" else "a page or XML"
        raise AuditError(f"'{file}' is {kind}; save its table as CSV or Parquet")


def _decoded(content: bytes, file: Path, encoding: str) -> tuple[str, tuple[str, ...]]:
    """The text of a file by its byte order mark, as UTF-8, or as Windows writes western text."""
    found = encoding or _marked(content)
    try:
        text = content.decode(found or "utf-8")
        return text.removeprefix("\ufeff"), ()
    except LookupError as error:
        raise AuditError(f"found encoding '{encoding}'; expected one such as utf-8") from error
    except UnicodeDecodeError:
        if found:
            raise
    text = content.decode("cp1252", errors="replace")
    if "\x00" in text:
        raise ValueError("it is neither text nor Parquet nor Arrow")
    return text, (
        f"'{file.name}' is not in UTF-8 and was read as Windows-1252, which holds Latin-1; if "
        "names look wrong, say which it is with encoding=.",
    )


def _marked(content: bytes) -> str:
    """The encoding that a byte order mark, or the zeros of UTF-16 without one, give away."""
    for mark, name in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return name
    start = content[:400]
    if len(start) > 3 and start[1::2].count(0) > len(start) // 3:
        return "utf-16-le"
    if len(start) > 3 and start[::2].count(0) > len(start) // 3:
        return "utf-16-be"
    return ""


def find_separator(text: str) -> str:
    r"""What separates the columns of these lines: the mark that gives every line as many.

    >>> find_separator("a;b\n1,5;2,5\n")
    ';'
    """

    def merit(mark: str) -> tuple[bool, int, int]:
        widths = [len(row) for row in csv.reader(StringIO(text, newline=""), delimiter=mark) if row]
        # The last line may be cut short.
        common = Counter(widths[:-1] if len(widths) > 2 else widths).most_common(1)
        same = len(set(widths[:-1] or widths)) == 1
        return (same and widths[0] > 1, widths[0], common[0][1]) if common else (False, 0, 0)

    return max(SEPARATORS, key=merit)


def _spaced(lines: list[str], mark: str) -> bool:
    """Whether a blank follows every separator, as in files written by hand."""
    whole = [line for line in lines[:50] if mark in line and '"' not in line]
    return bool(whole) and all(
        field.startswith(" ") for line in whole for field in line.split(mark)[1:]
    )


def _without_nameless(rows: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table without the columns that have no name: empty ones, and the numbers of its rows."""
    kept, notes, names = [], [], []
    for place, name in enumerate(rows.columns):
        values = rows.iloc[:, place]
        if name.strip():
            kept.append(place)
            names.append(name)
        elif not (values.str.strip() != "").any():
            notes.append(f"Column {place + 1} has no name and no values; it was left out.")
        elif values.tolist() == [str(row) for row in range(len(rows))]:
            notes.append(f"Column {place + 1} numbers the rows and has no name; it was left out.")
        else:
            kept.append(place)
            names.append(f"column {place + 1}")
            notes.append(f"Column {place + 1} has no name; it is called 'column {place + 1}'.")
    return rows.iloc[:, kept].set_axis(names, axis=1), tuple(notes)
