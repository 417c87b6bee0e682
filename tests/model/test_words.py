"""The words of texts, and the parts of texts around what was found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import ValidationError
from freehold.model.words import IGNORED, MAXIMUM_WORD, PAIRED, SEPARATING, SINGLE, fragments, parse_words, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("  \t\n ", []),
        ("Acme Ltd.", ["acme", "ltd"]),
        ("O'Brien-Smith", ["o", "brien", "smith"]),
        ("ada@acme.example", ["ada", "acme", "example"]),
        ("Łódź ßtraße ÆØ œuvre Þór", ["lodz", "sstrasse", "aeo", "oeuvre", "thor"]),
        ("e\u0301 \u0301 x", ["e", "x"]),
        ("İstanbul IĞDIR ılık", ["istanbul", "igdir", "ilik"]),
        ("½ x² ﬁn", ["1", "2", "x2", "fin"]),
        ("東京都", ["東京", "京都", "都"]),
        ("東", ["東"]),
        ("東A京", ["東", "a", "京"]),
        ("カﾞ", ["カ"]),
        ("👍🏽👍", ["👍", "👍"]),
        ("a👍b", ["a", "👍", "b"]),
        ("ﷺ", ["صلى", "الله", "عليه", "وسلم"]),
        ("مُحَمَّد،", ["محمد"]),
        ("soft\u00adhyphen zero\u200bwidth", ["softhyphen", "zerowidth"]),
        ("y" * 99, ["y" * MAXIMUM_WORD]),
        ("«quoted»—dash…", ["quoted", "dash"]),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert [word.text for word in words(text)] == found


@given(st.text())
def test_words_stand_in_order_within_the_text(text: str) -> None:
    found = words(text)
    for word in found:
        assert 0 <= word.start < word.end <= len(text)
        assert word.text
        assert len(word.text) <= MAXIMUM_WORD
        assert " " not in word.text
    assert [word.start for word in found] == sorted(word.start for word in found)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30))
def test_folding_is_stable(text: str) -> None:
    """The words of a word are itself, so that what a page shows can be searched for again."""
    for word in words(text):
        assert words(word.text)[0].text == word.text


def test_no_character_is_of_two_classes() -> None:
    for one, other in (
        (SEPARATING, SINGLE),
        (SEPARATING, PAIRED),
        (SINGLE, PAIRED),
        (IGNORED, SEPARATING),
        (IGNORED, SINGLE),
    ):
        for first, last in one:
            assert not [r for r in other if r[0] <= last and first <= r[1]], (first, last)


def test_the_words_of_a_query_come_once() -> None:
    assert parse_words("Acme acme ÁCME ltd") == ("acme", "ltd")
    assert parse_words(" ".join(f"w{n}" for n in range(20)))[19] == "w19"
    with pytest.raises(ValidationError, match="20 words, not 21"):
        parse_words(" ".join(f"w{n}" for n in range(21)))
    assert parse_words("x" * 1000) == ("x" * MAXIMUM_WORD,)
    with pytest.raises(ValidationError, match="1,000 characters, not 1,001"):
        parse_words("x" * 1001)


def html(text: str, *sought: str) -> str:
    found = fragments([("f", text)], sought)
    return found[0].html() if found else ""


def test_fragments() -> None:
    assert html("Acme & <Sons>", "acme", "so") == "<mark>Acme</mark> &amp; &lt;<mark>Sons</mark>&gt;"
    assert html("東京都庁", "京都") == "東<mark>京都</mark>庁"
    assert html("東京都庁", "東京", "京都", "都") == "<mark>東京都庁</mark>"
    assert html("nothing", "acme") == ""
    assert fragments([("f", None), ("g", "")], ["x"]) == ()
    assert html("Ünï", "uni") == "<mark>Ünï</mark>"
    assert html("a" * 500, "a" * 40) == f"<mark>{'a' * 500}</mark>"


@given(
    st.text(alphabet="ab <&東京é", max_size=400), st.lists(st.sampled_from(["a", "ab", "b", "東京", "e"]), min_size=1)
)
def test_a_fragment_is_a_part_of_the_text(text: str, sought: list[str]) -> None:
    for fragment in fragments([("f", text)], sought):
        shown = fragment.text.removeprefix("…").removesuffix("…")
        assert shown in text
        assert any(segment.matched for segment in fragment.segments)
        for segment in fragment.segments:
            assert segment.text
            if segment.matched:
                assert any(word.text.startswith(tuple(sought)) for word in words(segment.text))
