"""Is what is installed here what the wheels held? ``python -m bench.suite.installed`` asks every file.

Hash locks guard the download. What lies on disk may have been edited since, and uv hard-links its
environments to one cache, so an edit in one of them reaches all. Each wheel's RECORD has the SHA-256
of its files (PEP 376, PEP 427); files that no RECORD knows are foreign.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import platform
import sys
import sysconfig
from pathlib import Path
from typing import Any, Dict, List, Set

#: What uv itself puts beside the distributions.
_OF_THE_VENV = frozenset({"_virtualenv.py", "_virtualenv.pth"})
#: Enough to see what happened.
_MOST = 5


def check(site: Path) -> Dict[str, Any]:
    """Python, distributions by version, and up to five problems, each in a few words. ``site`` is site-packages."""
    problems: List[str] = []
    known: Set[Path] = {site / name for name in _OF_THE_VENV}
    distributions: Dict[str, str] = {}
    for record in sorted(site.glob("*.dist-info/RECORD")):
        name, _, version = record.parent.name[: -len(".dist-info")].rpartition("-")
        distributions[name.lower().replace("_", "-").replace(".", "-")] = version
        with record.open(encoding="utf-8", newline="") as stream:
            for path, digest, _ in csv.reader(stream):
                file = site / path
                known.add(file)
                # some wheels bring byte code, which the installation compiles anew
                if digest and file.suffix != ".pyc" and not _as_recorded(file, digest):
                    problems.append(f"{path} of {name} is not what its wheel held")
    there = (file for file in sorted(site.rglob("*")) if "__pycache__" not in file.parts and file.is_file())
    foreign = (file.relative_to(site).as_posix() for file in there if file not in known)
    problems.extend(f"{name} belongs to no distribution" for name in foreign)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return {"python": python, "distributions": distributions, "problems": problems[:_MOST]}


def _as_recorded(file: Path, digest: str) -> bool:
    algorithm, _, wanted = digest.partition("=")
    try:
        found = hashlib.new(algorithm, file.read_bytes()).digest()
    except (OSError, ValueError):
        return False
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode() == wanted


def main() -> int:
    """Print what was found as JSON; 1 where there are problems."""
    found = check(Path(sysconfig.get_path("purelib")))
    sys.stdout.write(json.dumps(found) + "\n")
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
