"""``python -m bench.suite.verify_install`` verifies every installed file against its wheel's RECORD.

The hashes of a lock protect only the download. Installed files may have been edited since, and uv hard-links the
files of all environments to one cache, so an edit in one environment affects all of them. The RECORD of a wheel lists
the SHA-256 of its files (PEP 376, PEP 427); a file that no RECORD lists does not belong there.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import platform
import re
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Set, Tuple

#: Files that uv itself creates in site-packages.
_VENV_FILES = frozenset({"_virtualenv.py", "_virtualenv.pth"})
#: More problems than these would not explain more.
_MAX_PROBLEMS = 5
_BLOCK_SIZE = 1 << 20
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", re.MULTILINE)


def check(site: Path, trusted: FrozenSet[str] = frozenset()) -> Dict[str, Any]:
    """Return the Python version, the installed distributions with their versions, and up to five problems.

    Args:
        site: The site-packages folder.
        trusted: Distributions whose files are not read. They are in a lower, read-only layer of an image and were
            verified when that layer was built.
    """
    expected_files: Set[Path] = {site / name for name in _VENV_FILES}
    distributions: Dict[str, str] = {}
    to_verify: List[Tuple[Path, str, str]] = []
    for record in sorted(site.glob("*.dist-info/RECORD")):
        name, _, version = record.parent.name[: -len(".dist-info")].rpartition("-")
        distributions[_plain(name)] = version
        with record.open(encoding="utf-8", newline="") as stream:
            for path, digest, _ in csv.reader(stream):
                expected_files.add(site / path)
                # some wheels contain byte code, which the installer compiles again
                if digest and not path.endswith(".pyc") and _plain(name) not in trusted:
                    to_verify.append((site / path, digest, f"{path} of {name} does not match its wheel's RECORD"))
    # hashing gigabytes takes most of the time, and hashlib releases the GIL meanwhile
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        intact = list(pool.map(_matches, [file for file, _, _ in to_verify], [digest for _, digest, _ in to_verify]))
    problems = [problem for (_, _, problem), unchanged in zip(to_verify, intact) if not unchanged]
    installed = (file for file in sorted(site.rglob("*")) if "__pycache__" not in file.parts and file.is_file())
    foreign = (file.relative_to(site).as_posix() for file in installed if file not in expected_files)
    problems.extend(f"{name} belongs to no distribution" for name in foreign)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return {"python": python, "distributions": distributions, "problems": problems[:_MAX_PROBLEMS]}


def _plain(name: str) -> str:
    """Return the name of a distribution as locks spell it."""
    return name.lower().replace("_", "-").replace(".", "-")


def _matches(file: Path, digest: str) -> bool:
    algorithm, _, expected = digest.partition("=")
    try:
        actual = hashlib.new(algorithm)
        with file.open("rb", buffering=0) as stream:
            while block := stream.read(_BLOCK_SIZE):
                actual.update(block)
    except (OSError, ValueError):
        return False
    return base64.urlsafe_b64encode(actual.digest()).rstrip(b"=").decode() == expected


def main(arguments: List[str]) -> int:
    """Print the result as JSON; returns 1 if there are problems. The argument is a lock whose packages are trusted."""
    pinned = _PIN.findall(Path(arguments[0]).read_text(encoding="utf-8")) if arguments else []
    result = check(Path(sysconfig.get_path("purelib")), frozenset(map(_plain, pinned)))
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
