"""Text that matches a pattern, made from the pattern.

Each place where the pattern leaves a choice is a digit of a number: text number 7 and text number 8 differ. Taken apart
is what Python's own parser makes of the pattern; what it does not know of Rust's syntax (`\\p{L}`, `\\z`) has no text here.
"""

import re
from collections.abc import Iterator, Sequence
from re import _constants as codes  # type: ignore[attr-defined]  # the module has no stub
from re import _parser as parser  # type: ignore[attr-defined]  # nor this one
from typing import Any

__all__ = ["matching"]

_PRINTABLE = "".join(map(chr, range(33, 127)))
_CATEGORIES = {
    codes.CATEGORY_DIGIT: "0123456789",
    codes.CATEGORY_WORD: "abcdefghijklmnopqrstuvwxyz0123456789_",
    codes.CATEGORY_SPACE: " ",
}
_LONGEST = 200
"""Repetitions that are tried beyond what a pattern demands."""


def matching(pattern: str, number: int) -> Iterator[str]:
    """Texts for a pattern, shorter ones first; who asks checks that one fits.

    Args:
        pattern: a regular expression.
        number: which of the possible texts.
    """
    try:
        parsed = parser.parse(pattern)
    except re.error:
        return
    repeating: list[str] = []
    for more in range(_LONGEST):
        choices = _Choices(number, more)
        try:
            text = choices.sequence(parsed)
        except NotImplementedError:
            return
        if repeating[-1:] == [text]:
            break  # the pattern has no room for more
        if choices.exhausted:
            repeating.append(text)  # other numbers have the same text, but a longer one may be this number's own
        else:
            yield text
    yield from repeating


class _Choices:
    """Makes one text: a number, read as digits of the choices that the pattern leaves.

    Args:
        number: which text.
        more: how often something is repeated beyond what must be.
    """

    def __init__(self, number: int, more: int) -> None:
        self._number = number
        self._more = more

    def sequence(self, parts: Sequence[tuple[Any, Any]]) -> str:
        # From the end, so that the last places change first, as in counting.
        return "".join(reversed([self._part(operator, value) for operator, value in reversed(list(parts))]))

    @property
    def exhausted(self) -> bool:
        """Whether there were fewer choices than the number has digits."""
        return self._number > 0

    def _one_of(self, options: Sequence[Any]) -> Any:
        if not options:
            raise NotImplementedError
        self._number, place = divmod(self._number, len(options))
        return options[place]

    def _part(self, operator: Any, value: Any) -> str:
        if operator is codes.LITERAL:
            return chr(value)
        if operator is codes.NOT_LITERAL:
            return str(self._one_of(_PRINTABLE.replace(chr(value), "")))
        if operator is codes.ANY:
            return str(self._one_of("abcdefghijklmnopqrstuvwxyz"))
        if operator is codes.IN:
            return str(self._one_of(_members(value)))
        if operator is codes.BRANCH:
            return self.sequence(self._one_of(value[1]))
        if operator is codes.SUBPATTERN:
            return self.sequence(value[-1])
        if operator in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            least, most, parts = value
            extra = min(int(most) - int(least), self._more)
            self._more -= extra
            return "".join(reversed([self.sequence(parts) for _ in range(int(least) + extra)]))
        if operator is codes.AT:
            return ""
        raise NotImplementedError


def _members(items: Sequence[tuple[Any, Any]]) -> str:
    """The characters of a class that are used: of those that it excludes, all other printable ones."""
    negated = items[0][0] is codes.NEGATE
    found: list[str] = []
    for operator, value in items[1:] if negated else items:
        if operator is codes.LITERAL:
            found.append(chr(value))
        elif operator is codes.RANGE:
            found += map(chr, range(value[0], min(value[1], value[0] + 256) + 1))
        elif operator is codes.CATEGORY and value in _CATEGORIES:
            found += _CATEGORIES[value]
        else:
            raise NotImplementedError
    if negated:
        # Letters and digits read best; what is left of them is used, else whatever else can be printed.
        plain = [char for char in "abcdefghijklmnopqrstuvwxyz0123456789" if char not in found]
        return "".join(plain or [char for char in _PRINTABLE if char not in found])
    return "".join(dict.fromkeys(char for char in found if char != "\x00"))
