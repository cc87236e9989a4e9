"""The environment probe: checks that every CUDA library of the pair can be opened in its pinned version.

``python -m bench.suite.probe '{"libraries": {"libcublas.so.12": "nvidia-cublas-cu12==12.5.3.2"}}'`` prints one
line of JSON. It needs neither GPU nor driver, so every image can be checked on the host that builds it. With
``"tensorflow": false`` TensorFlow is not imported.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from typing import Any, Dict, List, Mapping

from bench.suite import libcuda, loaded_libraries, nvidia, preconditions
from bench.suite.worker import private_stdout


def probe(required: Mapping[str, str], *, tensorflow: bool = True) -> Dict[str, Any]:
    """Check this environment; ``required`` maps sonames to requirements.

    Returns:
        ``libraries``: path, version (as reported by the library) and distribution of every library that was opened;
        ``missing``: the loader's message for each library that cannot be opened;
        ``problems``: deviations from the requirements, as sentences;
        ``versions``: versions of all mapped CUDA libraries;
        ``gpus``: number of GPUs that TensorFlow registered, or that the driver reports if TensorFlow is not imported;
        ``driver``: highest CUDA version that the driver supports, "" without a driver;
        ``why_no_gpu``: why the driver has no device; and ``tensorflow`` and ``build``, its version and build info.
    """
    missing = nvidia.missing(required)
    facts: Dict[str, Any] = {"tensorflow": "", "build": {}}
    problems: List[str] = []
    gpus = None
    if tensorflow:
        try:
            tf = importlib.import_module("tensorflow")
            facts["tensorflow"] = tf.version.VERSION
            facts["build"] = {key: str(value) for key, value in sorted(tf.sysconfig.get_build_info().items())}
            gpus = len(tf.config.list_physical_devices("GPU"))
            problems.extend(preconditions.build_problems(tf) if required else [])
        except Exception as error:  # noqa: BLE001 - any failure to import TensorFlow is a finding
            traceback.print_exc()
            problems.append(f"TensorFlow cannot be imported ({type(error).__name__}: {error})")
    opened = {name: requirement for name, requirement in required.items() if name not in missing}
    problems.extend(nvidia.mismatches(opened) if required else [])
    driver = libcuda.query_driver()
    return {
        **facts,
        "libraries": {name: _describe(name) for name in opened},
        "missing": missing,
        "problems": problems,
        "versions": nvidia.versions(),
        "gpus": len(driver.devices) if gpus is None else gpus,
        "driver": driver.version,
        "why_no_gpu": driver.reason,
    }


def main(arguments: List[str]) -> int:
    """Print the result as one line of JSON; returns 0 if nothing is missing and there are no problems."""
    options = json.loads(arguments[0])
    with private_stdout() as out:
        result = probe(options["libraries"], tensorflow=options.get("tensorflow", True))
        out.write(json.dumps(result, sort_keys=True) + "\n")
    return 1 if result["missing"] or result["problems"] else 0


def _describe(soname: str) -> Dict[str, str]:
    for library in nvidia.with_soname(soname, loaded_libraries.libraries()):
        return {
            "path": library.path.as_posix(),
            "version": nvidia.reported_version(library.path),
            "distribution": str(library.owner),
        }
    return {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
