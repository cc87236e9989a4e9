"""Custom kernel files: what of a user's file or folder is copied into an environment, under the hash of its content.

A source is one Python file, or a folder with modules, packages and data. Its copy is a folder named by its hash in a
*store*. Requests name a kernel's file as ``HASH/name.py`` or ``HASH/folder/name.py``; the environment variable
``TFREPRO_KERNEL_FILES`` says where the store is. Nothing here runs the user's code.
"""

from __future__ import annotations

import ast
import hashlib
import io
import os
import shutil
import sys
import tarfile
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

#: The environment variable that names the store inside an environment.
STORE_VARIABLE = "TFREPRO_KERNEL_FILES"
#: Most bytes, and most files, of all sources of one run together.
LIMIT_BYTES = 50_000_000
LIMIT_FILES = 5_000
#: Never part of a folder: hidden files, caches and installed packages. A folder with ``pyvenv.cfg`` is left out, too.
_IGNORED = (".*", "__pycache__", "*.pyc", "node_modules")
#: The module that declares kernels; a Python file of a folder is loaded if it imports it.
_DECLARES = "bench.suite.kernels"
#: Top-level modules of every environment: a file of that name beside a kernel file is not meant by an import.
_INSTALLED = frozenset({"bench", "tensorflow", "keras", "numpy"})


class KernelFileError(ValueError):
    """A file or folder cannot be used; ``hint`` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Source:
    """One file or folder with custom kernels, as it was read.

    Attributes:
        name: The name of the file or folder.
        path: Where the user has it.
        files: Path in its copy, such as ``net/layers.py`` below the folder's name -> content.
        modules: Those of ``files`` that may declare kernels.
        hash: SHA-256 over the names and contents of ``files``.
    """

    name: str
    path: Path
    files: Mapping[str, bytes]
    modules: Tuple[str, ...]
    hash: str


def read_source(path: Path, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> Source:
    """Read a file, or a folder narrowed by patterns of paths relative to it (``data/*.csv``; ``tests`` is a folder).

    Raises:
        KernelFileError: it cannot be read, is too large, has no kernel module, or imports a module of its folder,
            which is not copied.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - as the user wrote it: links are not resolved
    if path.is_dir():
        return _folder(path, tuple(include), tuple(exclude))
    content = _read(path)
    if path.suffix != ".py":
        raise KernelFileError(f"{path} is neither a Python file nor a folder.", _HINT)
    if len(content) > LIMIT_BYTES:
        raise _too_large(path.name, {path.name: len(content)})
    _refuse_modules_of_the_folder(path, content)
    return Source(path.name, path, {path.name: content}, (path.name,), tree_hash({path.name: content}))


_HINT = "Check --kernel-file, and kernel_files in [suite], whose paths are relative to matrix.toml."


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KernelFileError(f"The kernel file {path} cannot be read: {error.strerror}.", _HINT) from error


def _folder(path: Path, include: Tuple[str, ...], exclude: Tuple[str, ...]) -> Source:
    sizes: Dict[str, int] = {}
    for relative in _walk(path, include, exclude):
        with suppress(OSError):  # a broken link, which has no content
            sizes[relative] = (path / relative).stat().st_size
        if len(sizes) > LIMIT_FILES or sum(sizes.values()) > LIMIT_BYTES:
            raise _too_large(path.name, sizes)
    files = {f"{path.name}/{relative}": _read(path / relative) for relative in sorted(sizes)}
    modules = tuple(name for name, content in files.items() if name.endswith(".py") and _may_declare(content))
    if not modules:
        message = f"The folder {path} declares no kernel: none of its Python files imports {_DECLARES}."
        raise KernelFileError(message, "Name the folder with the file that decorates functions with @kernel(...).")
    return Source(path.name, path, files, modules, tree_hash(files))


def _walk(root: Path, include: Tuple[str, ...], exclude: Tuple[str, ...]) -> Iterator[str]:
    """Yield the selected files, relative to ``root``. Links to folders are not followed."""
    for folder, folders, names in os.walk(root):
        base = Path(folder)
        if base != root and "pyvenv.cfg" in names:
            folders.clear()
            continue
        kept = [name for name in sorted(folders) if not _matches(base / name, root, exclude)]
        folders[:] = [name for name in kept if not (base / name).is_symlink()]
        for name in sorted(names):
            file = base / name
            selected = not include or _matches(file, root, include, ignored=())
            if selected and file.is_file() and not _matches(file, root, exclude):
                yield file.relative_to(root).as_posix()


def _matches(path: Path, root: Path, patterns: Tuple[str, ...], ignored: Tuple[str, ...] = _IGNORED) -> bool:
    """Return whether a pattern matches a path or a folder that it is in, or the name is ignored everywhere."""
    relative = path.relative_to(root)
    candidates = [relative.as_posix(), *(parent.as_posix() for parent in relative.parents if parent.parts)]
    return any(fnmatchcase(path.name, pattern) for pattern in ignored) or any(
        fnmatchcase(candidate, pattern.rstrip("/")) for candidate in candidates for pattern in patterns
    )


def _too_large(name: str, sizes: Mapping[str, int]) -> KernelFileError:
    largest = sorted(sizes, key=lambda relative: -sizes[relative])[:3]
    listed = ", ".join(f"{relative} ({sizes[relative] / 1e6:.1f} MB)" for relative in largest)
    return KernelFileError(
        f"{name} is too large: at most {LIMIT_BYTES // 10**6} MB in {LIMIT_FILES} files are copied. Largest: {listed}.",
        "Leave out what the kernels do not need: --kernel-exclude 'PATTERNS', or exclude in [suite] of matrix.toml.",
    )


def check_total(sources: Iterable[Source]) -> None:
    """Raise KernelFileError where two sources have one name, or all together are too large."""
    sizes: Dict[str, int] = {}
    names: List[str] = []
    for source in sources:
        if source.name in names:
            raise KernelFileError(f"Two kernel files are named {source.name}.", "Rename one of them.")
        names.append(source.name)
        sizes.update({name: len(content) for name, content in source.files.items()})
    if len(sizes) > LIMIT_FILES or sum(sizes.values()) > LIMIT_BYTES:
        raise _too_large(" and ".join(names), sizes)


def parse(content: bytes, name: str) -> ast.Module:
    """Parse a Python file; raises SyntaxError or ValueError (null bytes) where it has no valid syntax."""
    return ast.parse(content, name)


def _may_declare(content: bytes) -> bool:
    try:
        tree = parse(content, "")
    except (SyntaxError, ValueError):
        return _DECLARES.encode() in content  # its error is reported when it is loaded
    return any(_DECLARES in _imported(node) for node in ast.walk(tree))


def _imported(node: ast.AST) -> List[str]:
    """Return the absolute names that an import statement may load: modules, and members that may be modules."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _refuse_modules_of_the_folder(path: Path, content: bytes) -> None:
    """Raise KernelFileError where a single file imports a module of its folder: only the file itself is copied."""
    try:
        tree = parse(content, path.name)
    except (SyntaxError, ValueError):
        return  # reported when it is loaded
    for node in ast.walk(tree):
        for name in sorted({name.partition(".")[0] for name in _imported(node)}):
            if _is_own_module(path, name):
                folder = os.path.relpath(path.parent)
                raise KernelFileError(
                    f"{path.name}, line {getattr(node, 'lineno', 0)}: {name} is in the folder of {path.name}, "
                    f"but only the file itself is copied: pass the folder with --kernel-file {folder}.",
                    "A folder is copied with its modules, packages and data.",
                )


def _is_own_module(path: Path, name: str) -> bool:
    # sys.stdlib_module_names exists from Python 3.10 on
    known = name in _INSTALLED or name in getattr(sys, "stdlib_module_names", sys.builtin_module_names)
    folder = path.parent / name
    return not known and ((path.parent / f"{name}.py").is_file() or (folder.is_dir() and any(folder.glob("*.py"))))


def tree_hash(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 over names and contents, hexadecimal."""
    total = hashlib.sha256()
    for name in sorted(files):
        # hash each file separately, so that no name or content can imitate the boundary between two files
        total.update(f"{name}\0{hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return total.hexdigest()


def stored_hash(copy: Path) -> str:
    """Return the hash of a copy as it is now; "" if it does not exist."""
    files = {path.relative_to(copy).as_posix(): path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    return tree_hash(files) if files else ""


def stored_sources(store: Path) -> List[Source]:
    """Return the sources of a store: a bundle's, whose every byte has been verified."""
    sources = []
    for copy in sorted(path for path in store.iterdir() if path.is_dir()):
        names = sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file())
        files = {name: (copy / name).read_bytes() for name in names}
        sources.append(Source(names[0].partition("/")[0], copy, files, (), copy.name))
    return sources


def stage(source: Source, store: Path) -> Path:
    """Write the read-only copy of a source into a store, unless it is there; returns it. Raises OSError."""
    copy = store / source.hash
    if stored_hash(copy) == source.hash:
        return copy
    store.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=store))
    for name, content in source.files.items():
        target = fresh / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    protect(fresh)
    if copy.exists():  # something has changed it since
        remove_copy(copy)
    try:
        fresh.rename(copy)
    except OSError:  # another run has just created it
        remove_copy(fresh)
    return copy


def remove_copy(copy: Path) -> None:
    """Remove a read-only copy."""
    for path in (copy, *copy.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(copy)


def protect(copy: Path, folder_mode: int = 0o555) -> None:
    """Make a copy read-only, and readable for everyone: containers run as user ``nobody``."""
    for path in sorted(copy.rglob("*"), reverse=True):
        path.chmod(folder_mode if path.is_dir() else 0o444)
    copy.chmod(folder_mode)


def pack(source: Source) -> bytes:
    """Return a source as a tar archive (xz), always with the same bytes: how run folders and archives keep it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz", format=tarfile.PAX_FORMAT) as archive:
        for name, content in sorted(source.files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def store_folder() -> Optional[Path]:
    """Return the store of this environment, None where it has none."""
    named = os.environ.get(STORE_VARIABLE)
    return Path(named) if named else None


def hashes_of(paths: Iterable[str]) -> Tuple[str, ...]:
    """Return the hashes of the sources that paths of a store (``HASH/name.py``) belong to."""
    return tuple(sorted({path.partition("/")[0] for path in paths}))
