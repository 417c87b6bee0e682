"""How files write things: dates in other forms, local times, bytes, and the ends of lines."""

import gzip
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold import errors
from freehold.transfer.cells import CellError, from_json, from_text
from freehold.transfer.formats import Format, format_of
from tests.transfer.files import rows
from tests.world import Customer, application


def read(field: str, cell: str, *, json: bool = False, **options: Any) -> Any:
    convert = from_json if json else from_text
    return convert(application.registry[Customer].fields[field], Format(**options), nullable=True)(cell)


FORMS = ["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y%m%d", "%d %b %Y", "%B %d, %Y", "%Y/%m/%d", "%d-%m-%y"]


@given(st.dates(date(1970, 1, 1), date(2060, 12, 31)), st.sampled_from(FORMS), st.times(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_dates_are_read_in_the_form_that_is_named(day: date, form: str, time: Any, json: bool) -> None:
    cell = day.strftime(form)
    assert read("born", cell, dates=form, json=json) == day
    moment = datetime.combine(day, time, UTC)
    for spelling in (time.isoformat(), f"{time.isoformat()}+00:00"):
        assert read("seen_at", f"{cell} {spelling}", dates=form, timezone="UTC", json=json) == moment


@pytest.mark.parametrize(
    ("cell", "form"),
    [
        ("31/02/2026", "%d/%m/%Y"),
        ("12/31/2026", "%d/%m/%Y"),
        ("2026-12-31", "%d/%m/%Y"),
        ("31/12/2026 x", "%d/%m/%Y"),
        ("31/12", "%d/%m/%Y"),
        ("٣١/12/2026", "%d/%m/%Y"),
        ("", "%d/%m/%Y"),
    ],
)
def test_what_is_no_date_of_that_form_is_refused(cell: str, form: str) -> None:
    if cell:
        with pytest.raises(CellError, match="such as"):
            read("born", cell, dates=form)
        with pytest.raises(CellError):
            read("seen_at", f"{cell} 09:30", dates=form, timezone="UTC")
    else:
        assert read("born", cell, dates=form) is None


@pytest.mark.parametrize(
    "form",
    ["", "d/m/Y", "%d/%m", "%d/%m/%Y %H", "%d/%d/%m/%Y", "%c", "%", "%d/%m/%Y%", "%s%d%m%Y", "%d%m%Y" + "x" * 40],
)
def test_what_is_no_form_of_dates_is_refused(form: str) -> None:
    with pytest.raises(errors.ValidationError, match="dates"):
        format_of("x.csv", dates=form)


ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "America/St_Johns",
    "Africa/Casablanca",
]


@given(st.sampled_from(ZONES), st.datetimes(datetime.fromisoformat("2000-01-01"), datetime.fromisoformat("2036-01-01")))
@settings(max_examples=300, deadline=None)
def test_a_local_time_is_one_moment_or_is_refused(name: str, local: datetime) -> None:
    zone = ZoneInfo(name)
    meant = {local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    there = {each for each in meant if each.astimezone(zone).replace(tzinfo=None, fold=0) == local}
    if len(there) == 1:
        assert {read("seen_at", local.isoformat(), timezone=name).astimezone(UTC)} == there
        return
    with pytest.raises(CellError, match=name) as caught:
        read("seen_at", local.isoformat(), timezone=name)
    assert caught.value.code == ("time_ambiguous" if there else "time_absent")


@pytest.mark.parametrize(
    ("local", "code"),
    [
        ("2026-03-29T02:30:00", "time_absent"),
        ("2026-10-25T02:30:00", "time_ambiguous"),
        ("2026-10-25T01:59:59", None),
        ("2026-10-25T03:00:00", None),
        ("2026-10-25T02:30:00+01:00", None),
    ],
)
def test_times_that_clocks_skip_or_repeat(local: str, code: str | None) -> None:
    if code is None:
        assert read("seen_at", local, timezone="Europe/Berlin").utcoffset() is not None
        return
    with pytest.raises(CellError) as caught:
        read("seen_at", local, timezone="Europe/Berlin")
    assert caught.value.code == code


@pytest.mark.parametrize("cell", ["2026-06-15T09:30 Europe/Berlin", "2026-06-15 09:30 CET", "15/06/2026", "1750000000"])
def test_moments_in_other_spellings_are_refused(cell: str) -> None:
    with pytest.raises(CellError):
        read("seen_at", cell, timezone="UTC")


@pytest.mark.parametrize("cell", ["\\x00ff10", "00ff10", "00FF10", "\\x00FF10"])
@pytest.mark.parametrize("json", [True, False])
def test_bytes_are_read_as_postgresql_writes_them_too(cell: str, *, json: bool) -> None:
    assert read("photo", cell, json=json) == b"\x00\xff\x10"
    for wrong in ("\\x0", "\\\\x00", "0x00", "\\xzz"):
        with pytest.raises(CellError, match="hexadecimal"):
            read("photo", wrong, json=json)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lines_end_in_every_way(encoding: str, end: str, mark: str, *, packed: bool) -> None:
    if mark and encoding not in ("utf-8",):
        mark = ""
    text = mark + end.join(["name,note", 'Böhm,"a, b"', "Möller,x", ""])
    data = text.encode(encoding)
    found = rows(gzip.compress(data) if packed else data, encoding=encoding)
    assert [(row.line, dict(row.values), row.problem) for row in found] == [
        (2, {"name": "Böhm", "note": "a, b"}, None),
        (3, {"name": "Möller", "note": "x"}, None),
    ]


def test_lines_of_json_end_in_carriage_returns_too() -> None:
    assert [dict(row.values) for row in rows(b'{"a": 1}\r{"a": 2}\r', "jsonl")] == [{"a": 1}, {"a": 2}]


def test_a_carriage_return_in_a_quoted_cell_is_kept() -> None:
    assert [row.values["b"] for row in rows(b'a,b\n1,"x\ry"\n')] == ["x\ry"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_the_mark_of_another_encoding_is_told(encoding: str) -> None:
    with pytest.raises(errors.FileError, match=encoding):
        rows("name\nx\n".encode(encoding))


@pytest.mark.parametrize(
    "name", ["idna", "punycode", "unicode_escape", "raw_unicode_escape", "rot13", "zlib", "utf-7", "x"]
)
def test_encodings_that_are_no_files_are_refused(name: str) -> None:
    with pytest.raises(errors.ValidationError, match="encoding"):
        Format(encoding=name)


def test_an_import_that_the_release_before_began_goes_on() -> None:
    """Its identity has the format's repr in it."""
    assert repr(Format()) == (
        "Format(name='csv', encoding='utf-8', delimiter=',', null=None, timezone=None, compressed=False)"
    )
