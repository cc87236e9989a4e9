"""Custom kernels: what the files named by matrix.toml and ``--kernel-file`` declare, without running them on the host.

``suite`` reads their declarations statically, which is enough for a plan. A run asks a first process in one of its
environments instead (see ``ask`` and ``bench.suite.declare``), because declarations may be computed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bench.errors import ConfigError
from bench.plan import static_declarations
from bench.regular_file import refuse_special
from bench.suite import kernel_files
from bench.suite.kernel_files import KernelFileError, Source
from bench.suite.kernels import Kernel, all_kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from bench.plan.config_models import KernelFiles

#: Seconds that the declarations of one file may take; importing TensorFlow from a cold disk is part of it.
LIMIT_S = 60.0
#: Characters of the name of a kernel; run.json and the records are refused with longer ones.
LONGEST_NAME = 120


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The kernels of an invocation: those of the built-in suite and the custom ones.

    ``sources`` are the files and folders of the custom ones. ``errors`` maps the name of a faulty module to a sentence,
    ``unknown`` that of a module whose declarations only running it tells.
    """

    kernels: Mapping[str, Kernel]
    sources: tuple[Source, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)

    def paths_of(self, kernels: Iterable[str]) -> dict[str, str]:
        """Return custom kernel -> ``HASH/name.py``, where a request finds it, for those of these that are custom."""
        declared = [self.kernels[name] for name in kernels]
        return {kernel.name: f"{kernel.code_hash}/{kernel.file}" for kernel in declared if kernel.file}


def sources(listed: Iterable[KernelFiles], folder: Path, given: Iterable[Path], exclude: Iterable[str]) -> list[Source]:
    """Read the files of matrix.toml, whose paths are relative to ``folder``, and those of the command line.

    ``exclude`` are patterns of files that folders of the command line leave out.

    Raises:
        ConfigError: a file or folder cannot be used, or they are too large together.
    """
    wanted = [(folder / entry.path, entry.include, entry.exclude) for entry in listed]
    paths = {path.absolute() for path, _, _ in wanted}
    wanted += [(path, (), tuple(exclude)) for path in given if path.absolute() not in paths]
    try:
        for path, *_ in wanted:
            refuse_special(path)
        read = {path.absolute(): kernel_files.read_source(path, *patterns) for path, *patterns in wanted}
        kernel_files.check_total(read.values())
    except KernelFileError as error:
        raise ConfigError(str(error), error.hint) from error
    except OSError as error:
        raise ConfigError(f"The kernel file {error.filename} cannot be read: {error.strerror}.") from error
    return list(read.values())


def suite(files: Iterable[Source]) -> Suite:
    """Return the built-in suite with the kernels that some files declare, as far as reading them can tell."""
    found = tuple(files)
    declared: list[Kernel] = []
    errors: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for source in found:
        for module in source.modules:
            result = static_declarations.read(module, source.files[module])
            declared += [replace(kernel, file=module, code_hash=source.hash) for kernel in result.kernels]
            if result.error:
                errors[module] = result.error
            if result.unknown:
                unknown[module] = result.unknown
            if not (result.kernels or result.error or result.unknown):
                errors[module] = f"{module} declares no kernel: decorate a function with @kernel(...)"
    return _suite(found, declared, errors, unknown)


def declared_by(files: Iterable[Source], execute: Callable[[str], str]) -> Suite:
    """Return the built-in suite with the kernels that some files declare when they run.

    ``execute`` runs ``bench.suite.declare`` with a request in an environment, and returns the line that it prints.

    Raises:
        ConfigError: a file ended its process, did not end or closed its streams.
    """
    found = tuple(files)
    hashes = {f"{source.hash}/{module}": source.hash for source in found for module in source.modules}
    printed = execute(json.dumps({"files": list(hashes), "limit_s": LIMIT_S}))
    hint = "Move what a file does into its kernels, which run in processes of their own."
    try:
        answers = json.loads(printed)["files"]
        fatal = [answer["error"] for answer in answers if answer["fatal"]]
        errors = {answer["path"].partition("/")[2]: answer["error"] for answer in answers if answer["error"]}
        declared = [_kernel(row, hashes[answer["path"]]) for answer in answers for row in answer["kernels"]]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        names = ", ".join(source.name for source in found)
        message = f"{names} gave no valid declarations ({type(error).__name__}: {error})."
        raise ConfigError(message, hint) from error
    if fatal:
        raise ConfigError(f"{'. '.join(map(str, fatal))}.", hint)
    return _suite(found, declared, errors, {})


def _kernel(declaration: Mapping[str, Any], code_hash: str) -> Kernel:
    """Return a kernel from ``Kernel.declaration``; its functions exist in environments only."""
    facts = {name: value for name, value in declaration.items() if name != "accuracy"}
    reference = static_declarations.no_reference if declaration["accuracy"] else None
    return Kernel(**facts, function=static_declarations.not_here, reference=reference, code_hash=code_hash)


def _suite(found: tuple[Source, ...], declared: list[Kernel], errors: dict[str, str], unknown: dict[str, str]) -> Suite:
    """Put the parts together; of two kernels with one name the first is kept, and a name may be too long."""
    own: dict[str, Kernel] = {}
    for kernel in declared:
        if len(kernel.name) > LONGEST_NAME:
            message = (
                f"{kernel.file}: the name of the kernel {kernel.name[:20]}... has more than {LONGEST_NAME} characters"
            )
            errors.setdefault(kernel.file, message)
            continue
        first = own.setdefault(kernel.name, kernel)
        if first is not kernel:
            message = f"{kernel.file}: the kernel {kernel.name!r} is already declared in {first.file}"
            errors.setdefault(kernel.file, message)
    return Suite(kernels={**all_kernels(), **own}, sources=found, errors=errors, unknown=unknown)
