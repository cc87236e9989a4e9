"""Is what is installed here what the wheels held? ``python -m bench.suite.verify_install`` asks every file.

Hash locks guard the download. What lies on disk may have been edited since, and uv hard-links its
environments to one cache, so an edit in one of them reaches all. Each wheel's RECORD has the SHA-256
of its files (PEP 376, PEP 427); files that no RECORD knows are foreign.
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

#: What uv itself puts beside the distributions.
_OF_THE_VENV = frozenset({"_virtualenv.py", "_virtualenv.pth"})
#: Enough to see what happened.
_MOST = 5
_PIECE = 1 << 20
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", re.MULTILINE)


def check(site: Path, trusted: FrozenSet[str] = frozenset()) -> Dict[str, Any]:
    """Python, distributions by version, and up to five problems, each in a few words.

    ``site`` is site-packages. The files of distributions in ``trusted`` are not read again: a lower layer of an
    image, which nothing can write to any more, was checked when it was made.
    """
    known: Set[Path] = {site / name for name in _OF_THE_VENV}
    distributions: Dict[str, str] = {}
    asked: List[Tuple[Path, str, str]] = []
    for record in sorted(site.glob("*.dist-info/RECORD")):
        name, _, version = record.parent.name[: -len(".dist-info")].rpartition("-")
        distributions[_plain(name)] = version
        with record.open(encoding="utf-8", newline="") as stream:
            for path, digest, _ in csv.reader(stream):
                known.add(site / path)
                # some wheels bring byte code, which the installation compiles anew
                if digest and not path.endswith(".pyc") and _plain(name) not in trusted:
                    asked.append((site / path, digest, f"{path} of {name} is not what its wheel held"))
    # Most of the time is SHA-256 of gigabytes, which does not hold the interpreter.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        right = list(pool.map(_as_recorded, [file for file, _, _ in asked], [digest for _, digest, _ in asked]))
    problems = [problem for (_, _, problem), well in zip(asked, right) if not well]
    there = (file for file in sorted(site.rglob("*")) if "__pycache__" not in file.parts and file.is_file())
    foreign = (file.relative_to(site).as_posix() for file in there if file not in known)
    problems.extend(f"{name} belongs to no distribution" for name in foreign)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return {"python": python, "distributions": distributions, "problems": problems[:_MOST]}


def _plain(name: str) -> str:
    """A distribution's name as locks write it."""
    return name.lower().replace("_", "-").replace(".", "-")


def _as_recorded(file: Path, digest: str) -> bool:
    algorithm, _, wanted = digest.partition("=")
    try:
        found = hashlib.new(algorithm)
        with file.open("rb", buffering=0) as stream:
            while piece := stream.read(_PIECE):
                found.update(piece)
    except (OSError, ValueError):
        return False
    return base64.urlsafe_b64encode(found.digest()).rstrip(b"=").decode() == wanted


def main(arguments: List[str]) -> int:
    """Print what was found as JSON; 1 where there are problems. The first argument names a lock that is trusted."""
    pinned = _PIN.findall(Path(arguments[0]).read_text(encoding="utf-8")) if arguments else []
    found = check(Path(sysconfig.get_path("purelib")), frozenset(map(_plain, pinned)))
    sys.stdout.write(json.dumps(found) + "\n")
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
