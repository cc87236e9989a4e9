"""Read the kernels that a Python file declares without running it: decorated functions with literal options."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.suite.kernel_files import parse
from bench.suite.kernels import Kernel, all_kernels, collecting, kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_MODULE = "bench.suite.kernels"


@dataclass(frozen=True, kw_only=True)
class Declarations:
    """What a file declares. ``error`` says what is wrong with it, ``unknown`` what only running it can tell."""

    kernels: tuple[Kernel, ...] = ()
    error: str = ""
    unknown: str = ""


def not_here(tf: Any, seed: int) -> Any:
    """Stand for the function of a custom kernel, which the host never has."""
    raise NotImplementedError


def no_reference(seed: int) -> Mapping[str, Any]:
    """Stand for the float64 reference of a custom kernel, which the host never has."""
    raise NotImplementedError


def read(name: str, content: bytes) -> Declarations:
    """Read one file; ``name`` is the one that messages give."""
    try:
        tree = parse(content, name)
    except (SyntaxError, ValueError) as wrong:
        where = f", line {wrong.lineno}" if isinstance(wrong, SyntaxError) and wrong.lineno else ""
        return Declarations(error=f"{name}{where}: {type(wrong).__name__}: {wrong}")
    names = set(_names_of_kernel(tree))
    all_kernels()  # registers the built-in names, which a file cannot use again
    error = unknown = ""
    understood: set[int] = set()
    with collecting() as declared:
        for function, call in _decorated(tree, names):
            options = _literal_options(call)
            if options is None:
                continue
            understood.update(id(node) for node in ast.walk(call.func))
            try:
                kernel(**options)(_named(function.name, ast.get_docstring(function)))
            except (TypeError, ValueError) as problem:
                error = error or f"{name}, line {call.lineno}: {type(problem).__name__}: {problem}"
    line = min((node.lineno for node in _uses(tree, names) if id(node) not in understood), default=0)
    if line:
        unknown = (
            f"{name}, line {line}: kernels are declared by code that only an environment runs, so they are not listed "
            "here; 'matrix' reads them in a first process"
        )
    return Declarations(kernels=tuple(declared), error=error, unknown=unknown)


def _names_of_kernel(tree: ast.Module) -> Iterator[str]:
    """Yield the expressions that mean the decorator: ``kernel``, or ``kernels.kernel`` after another import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == _MODULE:
            yield from (alias.asname or "kernel" for alias in node.names if alias.name in ("kernel", "*"))
        elif isinstance(node, ast.ImportFrom) and node.module == "bench.suite":
            yield from (f"{alias.asname or alias.name}.kernel" for alias in node.names if alias.name == "kernels")
        elif isinstance(node, ast.Import):
            yield from (f"{alias.asname or _MODULE}.kernel" for alias in node.names if alias.name == _MODULE)


def _decorated(tree: ast.Module, names: set[str]) -> Iterator[tuple[ast.FunctionDef, ast.Call]]:
    """Yield the functions at the top of a file that have the decorator alone, and its call."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and len(node.decorator_list) == 1:
            (call,) = node.decorator_list
            if isinstance(call, ast.Call) and ast.unparse(call.func) in names:
                yield node, call


def _uses(tree: ast.Module, names: set[str]) -> Iterator[ast.Name | ast.Attribute]:
    """Yield every expression that means the decorator."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in names:
            yield node


def _literal_options(call: ast.Call) -> dict[str, Any] | None:
    """Return the options of a declaration, None where one of them is computed; a reference may be any function."""
    if call.args:
        return None
    options: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            return None
        if keyword.arg == "reference":
            options["reference"] = no_reference
            continue
        try:
            options[keyword.arg] = ast.literal_eval(keyword.value)
        except ValueError:
            return None
    return options


def _named(name: str, docstring: str | None) -> Callable[[Any, int], Any]:
    """Return a stand-in for a function of this name and docstring."""

    def function(tf: Any, seed: int) -> Any:
        return not_here(tf, seed)

    function.__name__, function.__doc__ = name, docstring
    return function
