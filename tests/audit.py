"""Search the packages that tfrepro needs on the host for known vulnerabilities: ``nox -s audit``.

pip-audit alone does not suffice: it exits with 0 where the advisory database answers "not found" for every package, as
it does behind a mirror of the package index.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bench import errors

PACKAGE = "tfrepro"
#: Seconds for all questions to the advisory database.
_LIMIT_S = 600


def dependencies(name: str = PACKAGE) -> dict[str, str]:
    """Return distribution -> version of everything that a distribution requires, as it is installed here."""
    found: dict[str, str] = {}
    waiting = [name]
    while waiting:
        for text in metadata.requires(waiting.pop()) or []:
            requirement = Requirement(text)
            needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            required = canonicalize_name(requirement.name)
            if needed and required not in found:
                found[required] = metadata.version(required)
                waiting.append(required)
    return found


def vulnerabilities(packages: dict[str, str], options: list[str]) -> list[str]:
    """Return one line for each known vulnerability of some packages.

    Raises:
        EngineError: the advisory database was not reached, or does not know each of the packages.
    """
    with tempfile.TemporaryDirectory(prefix="tfrepro-audit-") as folder:
        listed = Path(folder) / "requirements.txt"
        listed.write_text("".join(f"{name}=={version}\n" for name, version in packages.items()), encoding="utf-8")
        command = [
            *(sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--format", "json"),
            *("--no-deps", "--disable-pip", "--requirement", str(listed), *options),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise _not_audited(f"pip-audit has not finished after {_LIMIT_S} s") from error
    try:
        answers: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError as error:
        lines = done.stderr.strip().splitlines() or [f"it ended with exit code {done.returncode}"]
        raise _not_audited(f"the advisory database was not reached. pip-audit says: {lines[-1]}") from error
    return findings(packages, answers)


def findings(packages: dict[str, str], answers: list[dict[str, Any]]) -> list[str]:
    """Return one line for each vulnerability in pip-audit's answers; raises as ``vulnerabilities`` does."""
    unknown = sorted(packages.keys() - {answer["name"] for answer in answers if "vulns" in answer})
    if unknown:
        count = f"{len(unknown)} of {len(packages)} packages"
        raise _not_audited(f"the advisory database knows nothing about {count}: {', '.join(unknown)}")
    found = [(answer, vulnerability) for answer in answers for vulnerability in answer["vulns"]]
    return [
        f"{answer['name']} {answer['version']}: {one['id']}, fixed in {', '.join(one['fix_versions']) or 'no version'}"
        for answer, one in found
    ]


def _not_audited(reason: str) -> errors.EngineError:
    hint = (
        "This is not a result. Repeat it on a host that reaches the public package index itself, or name another "
        "database: nox -s audit -- --vulnerability-service osv"
    )
    return errors.EngineError(f"NOT AUDITED: {reason}.", hint)


def main(options: list[str]) -> int:
    """Print the known vulnerabilities; exit codes are those of ``bench/errors.py``."""
    packages = dependencies()
    try:
        found = vulnerabilities(packages, options)
    except errors.EngineError as error:
        print(f"{error}\n{error.hint}", file=sys.stderr)
        return error.code
    print("\n".join([*found, f"{len(packages)} packages audited, {len(found)} known vulnerabilities"]))
    return errors.GATE if found else errors.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
