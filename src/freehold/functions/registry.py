"""The functions of one application, by name."""

from collections.abc import Iterable, Iterator

from freehold.errors import DeclarationError, NotFoundError
from freehold.functions.declaration import Function
from freehold.model.issues import shown
from freehold.model.registry import suggestion

__all__ = ["Functions"]


class Functions:
    """Functions by name.

    Args:
        offered: those that entities offer by their declarations. A function of the same name that is added later takes the place
            of one of these.
    """

    def __init__(self, offered: Iterable[Function] = ()) -> None:
        self._functions = {function.name: function for function in offered}

    def add(self, function: Function) -> None:
        """Adds a declared function.

        Raises:
            DeclarationError: another one has its name.
        """
        there = self._functions.get(function.name)
        if there is not None and there.action is None:
            raise DeclarationError(f"two functions are named {function.name!r}; rename one, or write name='...'")
        self._functions[function.name] = function

    def __getitem__(self, name: str) -> Function:
        """A function by its name.

        Raises:
            NotFoundError: there is none.
        """
        function = self._functions.get(name)
        if function is None:
            told = suggestion(name, self._functions)
            close = told.removeprefix("; ") if "did you mean" in told else "see the manifest for their names"
            raise NotFoundError("function", shown(name), hint=close)
        return function

    def get(self, name: str) -> Function | None:
        """A function by its name, or None."""
        return self._functions.get(name)

    def __contains__(self, name: object) -> bool:
        return name in self._functions

    def __iter__(self) -> Iterator[Function]:
        return iter(self._functions[name] for name in sorted(self._functions))

    def __len__(self) -> int:
        return len(self._functions)
