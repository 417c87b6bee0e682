"""The words of a text: what search finds, and where each stands.

One set of rules makes the words of records and of queries, here and in PostgreSQL (`freehold.engine.search` builds its
tokenizer from the tables of this module). It depends on no locale, dictionary or extension: accents and case do not
count, everything that is no space, punctuation or symbol is a letter, scripts without spaces are cut into pairs of
characters, and an emoji is a word.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape

from freehold.errors import Issue, ValidationError
from freehold.model.issues import shown

__all__ = [
    "IGNORED",
    "LOWERED",
    "MAXIMUM_WORD",
    "PAIRED",
    "SEPARATING",
    "SINGLE",
    "SPELLED",
    "Fragment",
    "Segment",
    "Word",
    "fragments",
    "parse_words",
    "words",
]

MAXIMUM_WORD = 40
"""Characters of a word; what is longer is cut."""
MAXIMUM_TEXT = 1_000
"""Characters of a query."""
MAXIMUM_WORDS = 20
"""Words of a query."""
FRAGMENT = 120
"""Characters of a fragment, about."""
LOOKED_THROUGH = 10_000
"""Characters of a text in which fragments are looked for."""

Ranges = Sequence[tuple[int, int]]

IGNORED: Ranges = (
    (0xAD, 0xAD), (0x300, 0x36F), (0x591, 0x5BD), (0x5BF, 0x5BF), (0x5C1, 0x5C2), (0x5C4, 0x5C5), (0x5C7, 0x5C7),
    (0x640, 0x640), (0x64B, 0x65F), (0x670, 0x670), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x200B, 0x200F),
    (0x202A, 0x202E), (0x2060, 0x2064), (0x20D0, 0x20FF), (0x3099, 0x309A), (0xFE00, 0xFE0F), (0xFE20, 0xFE2F),
    (0xFEFF, 0xFEFF), (0x1F3FB, 0x1F3FF), (0xE0020, 0xE007F), (0xE0100, 0xE01EF),
)  # fmt: skip
"""What does not count, by code points: accents, vowel points, joiners, variations, tones of skin."""

SEPARATING: Ranges = (
    (0x80, 0xAC), (0xAE, 0xBF), (0xD7, 0xD7), (0xF7, 0xF7), (0x55A, 0x55F), (0x589, 0x58A), (0x5BE, 0x5BE), (0x5C0, 0x5C0),
    (0x5C3, 0x5C3), (0x5F3, 0x5F4), (0x60C, 0x60D), (0x61B, 0x61B), (0x61E, 0x61F), (0x66A, 0x66D), (0x6D4, 0x6D4),
    (0x964, 0x965), (0x1680, 0x1680), (0x2000, 0x200A), (0x2010, 0x2029), (0x202F, 0x205F), (0x2065, 0x206F),
    (0x20A0, 0x20CF), (0x2190, 0x25FF), (0x27C0, 0x2AFF), (0x2E00, 0x2E7F), (0x3000, 0x3004), (0x3008, 0x3020),
    (0x3030, 0x3030), (0x303D, 0x303D), (0x30FB, 0x30FB), (0xFE10, 0xFE1F), (0xFE30, 0xFE6F), (0xFF5F, 0xFF65),
    (0xFFF0, 0xFFFF),
)  # fmt: skip
"""Spaces, punctuation and symbols from U+0080 on; below, all but letters and digits."""

SINGLE: Ranges = ((0x2600, 0x27BF), (0x2B00, 0x2BFF), (0x1F000, 0x1F3FA), (0x1F400, 0x1FAFF))
"""Emoji and pictures: each is a word."""

PAIRED: Ranges = (
    (0xE00, 0xEFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x2FFF), (0x3005, 0x3007), (0x3021, 0x302F),
    (0x3031, 0x303C), (0x3040, 0x30FA), (0x30FC, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)  # fmt: skip
"""Scripts without spaces (Han, Kana, Thai, Lao, Burmese, Khmer): each two neighbours are a word, and the last alone."""

SPELLED = {"ß": "ss", "ẞ": "ss", "æ": "ae", "Æ": "ae", "œ": "oe", "Œ": "oe", "þ": "th", "Þ": "th"}
"""Letters that are spelled with two."""

_ALIKE = {"ø": "o", "Ø": "o", "ł": "l", "Ł": "l", "đ": "d", "Đ": "d", "ð": "d", "Ð": "d", "ħ": "h", "Ħ": "h", "ı": "i",
          "ŧ": "t", "Ŧ": "t", "ĸ": "k", "ŋ": "n", "Ŋ": "n", "ς": "σ", "ƀ": "b", "ɓ": "b", "ƒ": "f"}  # fmt: skip


def _lowered() -> dict[str, str]:
    """Letters and what they are looked up as. Only of blocks that no newer Unicode changes: the table is in the database."""
    found = dict(_ALIKE)
    for first, last in ((0xC0, 0x587), (0x10A0, 0x10C5)):
        for char in map(chr, range(first, last + 1)):
            lower = char.lower()
            if lower != char and len(lower) == 1 and unicodedata.normalize("NFKD", char) == char:
                found.setdefault(char, _ALIKE.get(lower, lower))
    return {char: lower for char, lower in found.items() if char not in SPELLED}


LOWERED = _lowered()
"""Letters beyond ASCII that stand for another: capitals, and what has a stroke through it."""


def _matches(char: str, ranges: Ranges) -> bool:
    return any(first <= ord(char) <= last for first, last in ranges)


@lru_cache(maxsize=8192)
def _folded(char: str) -> str:
    """What a character is looked up as: nothing where it does not count, a space where it separates."""
    if char < "\x80":
        return char.lower() if char.isalnum() else " "
    out = ""
    for part in unicodedata.normalize("NFKD", char):
        if _matches(part, IGNORED):
            continue
        for spelled in SPELLED.get(part, LOWERED.get(part, part)):
            low = spelled.lower() if spelled < "\x80" else spelled
            separating = not low.isalnum() if low < "\x80" else _matches(low, SEPARATING)
            out += " " if separating else low
    return out


@lru_cache(maxsize=8192)
def _class(char: str) -> str:
    return "single" if _matches(char, SINGLE) else "paired" if _matches(char, PAIRED) else "letter"


@dataclass(frozen=True, slots=True)
class Word:
    """A word as it is looked up, and where it stands in the text.

    Args:
        text: folded.
        start, end: of the characters in the text.
    """

    text: str
    start: int
    end: int


def words(text: str) -> list[Word]:
    """The words of a text, in order."""
    found: list[Word] = []
    run: list[tuple[str, int]] = []
    kind = ""
    for index, char in enumerate(text):
        for folded in _folded(char):
            now = "" if folded == " " else _class(folded)
            if now != kind or now == "single":
                found += _run(run, kind)
                run, kind = [], now
            if now:
                run.append((folded, index))
    return found + _run(run, kind)


def _run(run: Sequence[tuple[str, int]], kind: str) -> list[Word]:
    """The words of neighbours of one class."""
    if not run:
        return []
    pieces = [run[at : at + 2] for at in range(len(run))] if kind == "paired" else [run]
    return [Word("".join(char for char, _ in piece)[:MAXIMUM_WORD], piece[0][1], piece[-1][1] + 1) for piece in pieces]


def parse_words(text: object, *, subject: str = "search") -> tuple[str, ...]:
    """The words of a query, each once; there are no operators.

    Raises:
        ValidationError: it is no text, has a NUL or a surrogate, or is too long.
    """
    if not isinstance(text, str):
        raise ValidationError([Issue((), f"must be a str, not {shown(text)}", "string_type")], subject=subject)
    if len(text) > MAXIMUM_TEXT:
        raise ValidationError(
            [Issue((), f"must have at most {MAXIMUM_TEXT:,} characters, not {len(text):,}", "string_too_long")],
            subject=subject,
        )
    if re.search("[\x00\ud800-\udfff]", text):
        raise ValidationError([Issue((), "must not contain NUL or surrogates", "string_unicode")], subject=subject)
    found = tuple(dict.fromkeys(word.text for word in words(text)))
    if len(found) > MAXIMUM_WORDS:
        raise ValidationError(
            [Issue((), f"must have at most {MAXIMUM_WORDS} words, not {len(found):,}", "too_many_words")],
            subject=subject,
        )
    return found


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a fragment.

    Args:
        text: as it stands in the record.
        matched: whether a word of the search was found here.
    """

    text: str
    matched: bool


@dataclass(frozen=True, slots=True)
class Fragment:
    """The part of a field's text around what was found.

    Args:
        field: the field's name.
        segments: the text in pieces; joined they are the part, with … where it was cut.
    """

    field: str
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """The part without marks."""
        return "".join(segment.text for segment in self.segments)

    def html(self) -> str:
        """The part as HTML: everything escaped, what was found in `<mark>`."""
        return "".join(
            f"<mark>{escape(segment.text)}</mark>" if segment.matched else escape(segment.text)
            for segment in self.segments
        )


def fragments(texts: Sequence[tuple[str, str | None]], sought: Sequence[str]) -> tuple[Fragment, ...]:
    """The parts of texts in which a word is found that begins with one of those sought, among their first 10,000 characters.

    Args:
        texts: names of fields with their texts.
        sought: folded words.
    """
    found = []
    for name, text in texts:
        spans = _spans(text[:LOOKED_THROUGH], tuple(sought)) if text else []
        if text and spans:
            found.append(Fragment(name, _cut(text, spans)))
    return tuple(found)


def _spans(text: str, sought: tuple[str, ...]) -> list[tuple[int, int]]:
    """Where words that match stand, without overlaps."""
    spans: list[tuple[int, int]] = []
    for word in words(text):
        if word.text.startswith(sought):
            if spans and word.start < spans[-1][1]:
                spans[-1] = (spans[-1][0], max(spans[-1][1], word.end))
            else:
                spans.append((word.start, word.end))
    return spans


def _cut(text: str, spans: Sequence[tuple[int, int]]) -> tuple[Segment, ...]:
    """The part that begins a little before the first match, in segments."""
    start = max(0, spans[0][0] - FRAGMENT // 3) if len(text) > FRAGMENT else 0
    if start:
        space = text.find(" ", start, spans[0][0])
        start = space + 1 if space >= 0 else start
    end = max(min(len(text), start + FRAGMENT), spans[0][1])
    if end < len(text):
        space = text.rfind(" ", spans[0][1], end)
        end = space if space >= 0 else end
    segments: list[Segment] = []
    at = start
    for first, last in spans:
        if last > end:
            break
        segments += [Segment(text[at:first], False), Segment(text[first:last], True)]
        at = last
    segments.append(Segment(text[at:end], False))
    edges = [Segment("…", False)] if start else [], [Segment("…", False)] if end < len(text) else []
    return tuple(segment for segment in (*edges[0], *segments, *edges[1]) if segment.text)
