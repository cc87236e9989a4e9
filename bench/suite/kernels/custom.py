"""Kernels of the user's own: files with the same declarations, carried into the column as text.

The root reads them where TensorFlow is not installed, for their declarations only; so TensorFlow is not
imported by them but handed in, as to every kernel.
"""

from __future__ import annotations

import hashlib
import linecache
import sys
import traceback
from dataclasses import replace
from types import ModuleType
from typing import Dict, Mapping, Tuple

from bench.suite.kernels import Kernel, all_kernels, collecting


def load(sources: Mapping[str, str]) -> Tuple[Dict[str, Kernel], Dict[str, str]]:
    """Kernels of some files (name -> text) by name, and for each file in error one sentence with its line.

    What a file declared before its error stays. Whatever it raises, nothing else is stopped.
    """
    found: Dict[str, Kernel] = {}
    errors: Dict[str, str] = {}
    all_kernels()  # a name of the suite cannot be taken
    for name, source in sources.items():
        code_hash = hashlib.sha256(source.encode()).hexdigest()
        with collecting() as declared:
            try:
                _run(name, source)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the user's code
                errors[name] = _sentence(name, error)
        for one in declared:
            if one.name in found:
                told = f"{name}: the kernel {one.name!r} is declared in {found[one.name].file} already"
                errors.setdefault(name, told)
                continue
            found[one.name] = replace(one, file=name, code_hash=code_hash)
        if not declared:
            errors.setdefault(name, f"{name} declares no kernel: decorate a function with @kernel(...)")
    return found, errors


def place(error: BaseException, files: Mapping[str, str]) -> str:
    """``my_kernels.py, line 7``: where an error left the user's own files; "" where it never was there."""
    if isinstance(error, SyntaxError) and error.filename in files:
        return f"{error.filename}, line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def _run(name: str, source: str) -> None:
    # tracebacks and inspect find the text here, for there is no such file in a column
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    module = ModuleType("own_kernels_" + name.partition(".")[0])
    module.__file__ = name
    sys.modules[module.__name__] = module  # where dataclasses look theirs up
    try:
        exec(compile(source, name, "exec"), module.__dict__)  # noqa: S102 - running the user's kernels is the purpose
    finally:
        del sys.modules[module.__name__]  # AutoGraph would drop the text of a module whose file is not there


def _sentence(name: str, error: BaseException) -> str:
    where = place(error, {name: ""}) or name
    told = f"{where}: {type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError) and error.name in ("tensorflow", "keras"):
        told += " (the host has none: a kernel gets TensorFlow as its first argument)"
    return told
