"""Custom kernels: user files with the same declarations, passed to the column as text.

The host loads these files for their declarations, but has no TensorFlow. Therefore they must not import TensorFlow;
like every kernel, they get it as an argument.
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
    """Load files (name -> text); return their kernels by name, and an error message with its line for each faulty file.

    Kernels that a file declares before its error are kept, and an error does not affect the other files.
    """
    kernels: Dict[str, Kernel] = {}
    errors: Dict[str, str] = {}
    all_kernels()  # registers the built-in names, which a file cannot use again
    for name, source in sources.items():
        code_hash = hashlib.sha256(source.encode()).hexdigest()
        with collecting() as declared:
            try:
                _run(name, source)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything
                errors[name] = _error_message(name, error)
        for kernel in declared:
            if kernel.name in kernels:
                message = f"{name}: the kernel {kernel.name!r} is already declared in {kernels[kernel.name].file}"
                errors.setdefault(name, message)
                continue
            kernels[kernel.name] = replace(kernel, file=name, code_hash=code_hash)
        if not declared:
            errors.setdefault(name, f"{name} declares no kernel: decorate a function with @kernel(...)")
    return kernels, errors


def error_location(error: BaseException, files: Mapping[str, str]) -> str:
    """Return the innermost location of an error in the user's files (``my_kernels.py, line 7``), "" if elsewhere."""
    if isinstance(error, SyntaxError) and error.filename in files:
        return f"{error.filename}, line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def _run(name: str, source: str) -> None:
    # tracebacks and inspect read the source from this cache, because the file does not exist in a column
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    module = ModuleType("custom_kernels_" + name.partition(".")[0])
    module.__file__ = name
    sys.modules[module.__name__] = module  # dataclasses look up their module here
    try:
        exec(compile(source, name, "exec"), module.__dict__)  # noqa: S102 - running the user's kernels is the purpose
    finally:
        del sys.modules[module.__name__]  # AutoGraph discards the source of a registered module without a file


def _error_message(name: str, error: BaseException) -> str:
    location = error_location(error, {name: ""}) or name
    message = f"{location}: {type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError) and error.name in ("tensorflow", "keras"):
        message += " (do not import it: a kernel gets TensorFlow as its first argument)"
    return message
