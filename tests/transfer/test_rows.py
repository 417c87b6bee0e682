"""Rows of files: right ones as they are, wrong ones with their line and what is wrong, and never a traceback."""

import csv
import gzip
import io
import json
import os
import tracemalloc
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from freehold.errors import FileError, FreeholdError, ValidationError
from freehold.transfer.formats import Format, format_of
from freehold.transfer.rows import rows_of
from freehold.transfer.source import MAXIMUM_LINE, Source
from tests.transfer.files import rows

TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=30)


@given(
    st.lists(st.lists(TEXT, min_size=3, max_size=3), max_size=12),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(",;\t|"),
)
@example([["a\nb", 'c"d', "e,f"], ["", "\r", "\x00"]], "\n", ",")
def test_what_a_writer_of_csv_wrote_is_read(cells: list[list[str]], end: str, delimiter: str) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(["x", "y", "z"])
    writer.writerows(cells)
    found = rows(file.getvalue().encode(), delimiter=delimiter)
    assert [list(row.values.values()) for row in found] == cells
    assert all(row.problem is None for row in found)


@given(
    st.lists(
        st.dictionaries(TEXT, st.none() | st.booleans() | st.integers(-(10**30), 10**30) | TEXT | st.lists(TEXT)),
        max_size=9,
    )
)
def test_what_was_written_as_json_lines_is_read(values: list[dict[str, object]]) -> None:
    data = "".join(json.dumps(value) + "\n" for value in values).encode()
    assert [row.values for row in rows(data, "jsonl")] == values


@given(st.binary(max_size=300), st.sampled_from(["csv", "jsonl"]), st.booleans())
@example(b'"', "csv", False)
@example(b"\x1f\x8b", "csv", False)
@example(b"\xff\xfea", "csv", False)
@example(b"[" * 200_000, "jsonl", False)
@example(b'{"a":' + b"[" * 200_000, "jsonl", True)
def test_no_bytes_make_a_traceback(data: bytes, name: str, header: bool) -> None:
    try:
        found = rows((b"a,b\n" if name == "csv" and header else b"") + data, name)
    except FreeholdError:
        pass  # a clear one; anything else fails the test
    else:
        assert all(row.problem is not None or isinstance(row.values, dict) for row in found)


@given(st.lists(TEXT.filter(lambda text: "\n" not in text and "\r" not in text), min_size=1, max_size=8))
def test_lines_are_numbered_as_an_editor_does(cells: list[str]) -> None:
    data = "x,y\n" + "".join(f'{place},"{cell.replace(chr(34), "")}\nsecond"\n\n' for place, cell in enumerate(cells))
    assert [row.line for row in rows(data.encode())] == [2 + 3 * place for place in range(len(cells))]


def test_a_wrong_row_is_told_and_the_next_one_is_read() -> None:
    found = rows(b'a,b\n1,2\n1,2,3\n\n"x"y,2\n\xe9,2\n7,8\n1')
    told = [(row.line, row.problem and row.problem.code) for row in found]
    assert told == [(2, None), (3, "ragged"), (5, "quote_misplaced"), (6, "encoding"), (7, None), (8, "ragged")]
    assert found[1].problem is not None
    assert found[1].problem.message == "has 3 cells where the header has 2"
    assert found[1].values == {"": "1,2,3"}
    assert found[3].problem is not None
    assert "byte 0xe9 at character 1" in found[3].problem.message
    assert found[5].problem is not None
    assert "may have been cut off" in found[5].problem.message


def test_a_quote_that_never_closes_takes_the_rest_and_says_so() -> None:
    found = rows(b'a,b\n1,2\n3,"4\n5,6\n')
    assert [(row.line, row.problem and row.problem.code) for row in found] == [(2, None), (3, "quote_not_closed")]
    with pytest.raises(FileError, match="line 2: the row is longer than"):
        rows(b'a,b\n1,"' + b"x\n" * MAXIMUM_LINE)


def test_a_line_without_end_is_passed_over_at_constant_memory() -> None:
    tracemalloc.start()
    found = rows(b"a,b\n1,2\n" + b"x" * 3 * MAXIMUM_LINE + b"\n3,4\n")
    before = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(row.line, row.problem and row.problem.code) for row in found] == [
        (2, None),
        (3, "line_too_long"),
        (4, None),
    ]
    assert before < 12 * MAXIMUM_LINE


def test_a_long_field_is_read() -> None:
    long = "x" * 1_000_000
    assert rows(f'a,b\n"{long}",2\n'.encode())[0].values == {"a": long, "b": "2"}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,a\n1,2\n", "names the column 'a' twice"),
        (b"\xff\xfea\x00,\x00", "begins with the mark of utf-16"),
        (b'"a\n1\n', "opens a quote that is never closed"),
        (b"\xe9,b\n", "is not utf-8: byte 0xe9"),
        (b"a,b\r1,2\n", "carriage return"),
    ],
)
def test_a_header_that_is_none(data: bytes, says: str) -> None:
    with pytest.raises(FileError, match=says):
        rows(data)


def test_columns_without_a_name_are_not_read() -> None:
    assert rows(b",a,\n0,1,2\n")[0].values == {"a": "1"}


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (b"{", "json_invalid", "is no JSON: expecting property name"),
        (b"[1]", "json_type", "is a list and no object"),
        (b'{"a": NaN}', "json_invalid", "NaN is no number of JSON"),
        (b'{"a": 1} x', "json_invalid", "extra data at character 10"),
        (b'{"a": "\xe9"}', "encoding", "byte 0xe9 at character 8"),
        (b'{"a": ' + b"1" * 5_000 + b"}", "json_invalid", "is no JSON"),
    ],
)
def test_a_wrong_line_of_json(line: bytes, code: str, says: str) -> None:
    good, wrong, after = rows(b'{"a": 1}\n' + line + b'\n{"a": 2}', "jsonl")
    assert (good.problem, after.problem) == (None, None)
    assert wrong.problem is not None
    assert (wrong.line, wrong.problem.code) == (2, code)
    assert says in wrong.problem.message


def test_numbers_of_json_stay_exact() -> None:
    (row,) = rows(b'{"a": 0.1234567890123456789, "b": 1e999999999}', "jsonl")
    assert row.values == {"a": Decimal("0.1234567890123456789"), "b": float("inf")}


def test_a_json_array_is_told_apart() -> None:
    with pytest.raises(FileError, match="JSON array") as caught:
        rows(b'\n[{"a": 1},\n', "jsonl")
    assert "jq" in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "cp500", "latin-1", "utf-8-sig", "shift_jis"])
def test_other_encodings(encoding: str) -> None:
    found = rows(
        "a,b\n1,ｱ\n".replace("ｱ", "é" if encoding in ("latin-1", "cp500") else "ｱ").encode(encoding), encoding=encoding
    )
    assert [(row.line, len(row.values["b"])) for row in found] == [(2, 1)]


def test_the_wrong_encoding_of_a_whole_file_is_an_error() -> None:
    with pytest.raises(FileError, match="is not utf-16"):
        rows(b"\xff\xfea\x00,\x00b\x00\n\x00\x00\xd8\x00", encoding="utf-16")


@given(st.integers(0, 400))
def test_compressed_data_that_was_cut_off_is_an_error(cut: int) -> None:
    lines = b"a,b\n" + b"".join(b"%d,%s\n" % (number, os.urandom(4).hex().encode()) for number in range(60))
    data = gzip.compress(lines)
    source = Source(io.BytesIO(data[: -1 - cut % (len(data) - 3)]), Format())
    with pytest.raises(FileError) as caught:
        list(rows_of(source, Format()))
    assert "cut off" in str(caught.value)


def test_damaged_compressed_data_is_an_error() -> None:
    data = bytearray(gzip.compress(b"a,b\n" + os.urandom(2_000).hex().encode()))
    data[600] ^= 0xFF
    with pytest.raises(FileError, match="damaged"):
        rows(bytes(data))


def test_the_digest_is_that_of_the_lines_so_far() -> None:
    lines = [b"a,b\n", b"1,2\n", b'3,"4\n', b'5"\n']
    source = Source(io.BytesIO(b"".join(lines)), Format())
    digests = [source.digest for _ in rows_of(source, Format())]
    again = Source(io.BytesIO(gzip.compress(b"".join(lines) + b"6,7\n")), Format())
    assert [again.digest for _ in rows_of(again, Format())][:2] == digests
    assert len(set(digests)) == 2


@pytest.mark.parametrize("path", ["/nowhere/at/all.csv", "/", "/tmp"])
def test_a_file_that_cannot_be_opened(path: str) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        Source(path, Format())


def test_the_name_tells_the_format() -> None:
    assert format_of("a/b.csv") == Format("csv")
    assert format_of("b.TSV.gz") == Format("csv", delimiter="\t", compressed=True)
    assert format_of("b.ndjson") == format_of("b.jsonl") == Format("jsonl")
    assert format_of("-", format="csv", delimiter=";").delimiter == ";"


@pytest.mark.parametrize(
    "options",
    [
        {"name": "b.txt"},
        {"name": "-"},
        {"name": "b", "format": "xml"},
        {"name": "b.csv", "encoding": "klingon"},
        {"name": "b.csv", "encoding": "hex"},
        {"name": "b.csv", "delimiter": ""},
        {"name": "b.csv", "delimiter": '"'},
        {"name": "b.csv", "timezone": "Mars/Olympus"},
        {"name": "b.csv", "timezone": "../../etc/passwd"},
    ],
)
def test_options_that_make_no_sense(options: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        format_of(options.pop("name"), **options)
