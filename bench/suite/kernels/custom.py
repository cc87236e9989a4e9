"""Custom kernels: load the modules of the user's files that declare the kernels of a process.

Only an environment does this, never the host: the user's code may do anything. A module is found in the store of
``bench.suite.kernel_files`` as ``HASH/name.py``; modules of the same folder import each other as they do at home.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional

from bench.suite import kernel_files
from bench.suite.kernels import Kernel, all_kernels, collecting

#: Starts of TensorFlow's messages about what cannot change once devices exist.
_TOO_LATE = ("Virtual devices cannot be modified", "Intra op parallelism cannot be", "Inter op parallelism cannot be")
#: The function of a user's module that runs once, right after TensorFlow is imported and before it makes any device.
HOOK = "before_tensorflow"


@dataclass
class Loaded:
    """What the user's modules declare.

    Attributes:
        kernels: Name -> kernel.
        errors: Module (``my_kernels.py``) -> why it could not be loaded, with the line.
        failures: Kernel -> what the hook of its module raised.
        hooks: Module -> its function ``before_tensorflow``.
        changed_variables: A sentence about environment variables that changed while the modules were loaded, if any.
    """

    kernels: Dict[str, Kernel] = field(default_factory=dict)
    errors: Dict[str, str] = field(default_factory=dict)
    failures: Dict[str, Exception] = field(default_factory=dict)
    hooks: Dict[str, Callable[[Any], object]] = field(default_factory=dict)
    changed_variables: List[str] = field(default_factory=list)

    def run_hooks(self, tf: Any) -> None:
        """Call every hook with TensorFlow. What one raises is raised again by the kernels of its module."""
        for module, hook in self.hooks.items():
            try:
                hook(tf)
            except Exception as error:  # noqa: BLE001 - the user's code may raise anything
                traceback.print_exc()
                self.failures.update({name: error for name, kernel in self.kernels.items() if kernel.file == module})


def load(paths: Iterable[str], store: Optional[Path] = None) -> Loaded:
    """Load modules of a store (default: that of this environment), each given as ``HASH/name.py``.

    Kernels that a module declares before its error are kept, and an error does not affect the other modules.
    """
    loaded = Loaded()
    all_kernels()  # registers the built-in names, which a file cannot use again
    for path in paths:
        code_hash, _, name = path.partition("/")
        folder = store or kernel_files.store_folder()
        problem = _problem(folder / code_hash if folder else None, code_hash)
        if problem or folder is None:
            loaded.errors[name] = f"{name}: {problem}"
            continue
        module: Optional[ModuleType] = None
        with collecting() as declared:
            try:
                module = _import(folder / code_hash, name)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything
                loaded.errors[name] = _error_message(name, error, folder)
        _take(loaded, name, code_hash, declared)
        hook = getattr(module, HOOK, None)
        if callable(hook):
            loaded.hooks[name] = hook
    return loaded


def requested(mapping: Mapping[str, str], names: Iterable[str]) -> Loaded:
    """Load the modules that declare these kernels; ``mapping`` is ``Request.kernel_files``."""
    return load(dict.fromkeys(mapping[name] for name in names if name in mapping))


def _take(loaded: Loaded, name: str, code_hash: str, declared: List[Kernel]) -> None:
    for kernel in declared:
        if kernel.name in loaded.kernels:
            other = loaded.kernels[kernel.name].file
            loaded.errors.setdefault(name, f"{name}: the kernel {kernel.name!r} is already declared in {other}")
            continue
        loaded.kernels[kernel.name] = replace(kernel, file=name, code_hash=code_hash)
    if not declared:
        loaded.errors.setdefault(name, f"{name} declares no kernel: decorate a function with @kernel(...)")


def return_location(function: Any, store: Optional[Path] = None) -> str:
    """Return the line of a user's function that returns its value (``my_kernels.py, line 7``), "" if elsewhere.

    It is the line of the definition if there is not exactly one ``return``.
    """
    function = getattr(function, "python_function", None) or getattr(function, "func", function)
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    folder = store or kernel_files.store_folder()
    if code is None or folder is None:
        return ""
    name = label(code.co_filename, folder)
    if not name:
        return ""
    line = code.co_firstlineno
    for node in ast.walk(ast.parse(Path(code.co_filename).read_text(encoding="utf-8-sig"))):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
            if first == code.co_firstlineno and getattr(node, "name", "<lambda>") == code.co_name:
                returns = [inner.lineno for inner in _own_nodes(node) if isinstance(inner, ast.Return)]
                line = returns[0] if len(returns) == 1 else node.lineno
    return f"{name}, line {line}"


def _own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function, without those of functions inside it."""
    for node in ast.iter_child_nodes(function):
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield from _own_nodes(node)


def _problem(copy: Optional[Path], code_hash: str) -> str:
    """Return why a copy cannot be used: it did not arrive, or was changed."""
    if copy is None or not copy.is_dir():
        return "it did not reach the environment (a Docker daemon on another host cannot mount files of this one)"
    if kernel_files.stored_hash(copy) != code_hash:
        return "its copy was changed: a kernel must not write beside its files"
    return ""


def error_location(error: BaseException, store: Optional[Path] = None) -> str:
    """Return the innermost location of an error in the user's files (``net/layers.py, line 7``), "" if elsewhere."""
    folder = store or kernel_files.store_folder()
    if folder is None:
        return ""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append((error.filename or "", error.lineno))
    for filename, line in reversed(places):
        name = label(filename, folder)
        if name:
            return f"{name}, line {line}"
    return ""


def label(filename: str, store: Path) -> str:
    """Return the name of a file of a store without the store and the hash, "" for any other file."""
    prefix = f"{store}/"
    return filename[len(prefix) :].partition("/")[2] if filename.startswith(prefix) else ""


def with_remedy(error: BaseException) -> str:
    """Return an error's message; one about devices or threads that exist already says how to set them in time."""
    message = str(error)
    if not message.startswith(_TOO_LATE):
        return message
    return (
        f"{message} (TensorFlow has made its devices already: set this in a function {HOOK}(tf) of your file, or "
        "measure with --variation devices=2, threads=1 or inter=1)"
    )


def _import(copy: Path, name: str) -> ModuleType:
    """Import one module of a copy. A file alone imports nothing beside it; a folder is on the path."""
    sys.dont_write_bytecode = True
    parts = list(PurePosixPath(name).with_suffix("").parts)
    if len(parts) > 1:
        root = copy if (copy / parts[0] / "__init__.py").is_file() else copy / parts.pop(0)
        _add_path(str(root))
    if parts[-1] == "__init__":
        parts.pop()
    if len(parts) > 1:
        importlib.import_module(".".join(parts[:-1]))
    dotted = ".".join(parts)
    if len(parts) == 1 and (dotted in sys.modules or dotted in getattr(sys, "stdlib_module_names", ())):
        dotted = f"custom_kernels_{dotted}"  # a file named like a library must not hide it
    spec = importlib.util.spec_from_file_location(dotted, copy / name)
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} is not a Python module")
    module = sys.modules[dotted] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _add_path(root: str) -> None:
    """Put a folder on the path: before the installed packages, after the standard library and this suite."""
    if root not in sys.path:
        packages = ("site-packages", "dist-packages")
        positions = [number for number, entry in enumerate(sys.path) if Path(entry).name in packages]
        sys.path.insert(positions[0] if positions else len(sys.path), root)


def _error_message(name: str, error: BaseException, store: Path) -> str:
    return f"{error_location(error, store) or name}: {type(error).__name__}: {error}"
