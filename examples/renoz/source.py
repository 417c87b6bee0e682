"""The source of functions as the tour shows it."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

__all__ = ["body_of", "whole_of"]

Function = Callable[..., Any]  # Any: the tour shows functions of every kind


def body_of(function: Function) -> str:
    """What a function does, without its head and docstring; a lone `return` is left out."""
    definition, lines = _parsed(function)
    statements = _without_docstring(definition)
    text = textwrap.dedent("\n".join(lines[statements[0].lineno - 1 : statements[-1].end_lineno]))
    return text.removeprefix("return ") if len(statements) == 1 else text


def whole_of(function: Function) -> str:
    """A function without its docstring."""
    definition, lines = _parsed(function)
    first = _without_docstring(definition)[0].lineno
    return "\n".join([*lines[: definition.body[0].lineno - 1], *lines[first - 1 :]])


def _parsed(function: Function) -> tuple[ast.FunctionDef | ast.AsyncFunctionDef, list[str]]:
    source = textwrap.dedent(inspect.getsource(function))
    definition = ast.parse(source).body[0]
    if not isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef):
        raise TypeError(f"{function!r} is no function with a source of its own")
    return definition, source.splitlines()


def _without_docstring(definition: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
    return definition.body[1:] if ast.get_docstring(definition) is not None else definition.body
