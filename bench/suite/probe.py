"""The inside probe alone: does this environment open every library that its pair promises, each as pinned?

``python -m bench.suite.probe '{"libraries": {"libcublas.so.12": "nvidia-cublas-cu12==12.5.3.2"}}'`` prints one
line of JSON. It needs no GPU and no driver, so every image can be proven where it is built. With
``"tensorflow": false`` TensorFlow is left out.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from typing import Any, Dict, List, Mapping

from bench.suite import libcuda, loaded_libraries, nvidia, preconditions
from bench.suite.worker import private_stdout


def probe(promised: Mapping[str, str], *, tensorflow: bool = True) -> Dict[str, Any]:
    """What was found; ``promised`` maps sonames to requirements.

    ``libraries`` has path, version (of the library's own word) and distribution of every library that was opened;
    ``missing`` the loader's words for those that were not; ``problems`` sentences about what is not as promised.
    ``gpus`` counts what TensorFlow registered (without it: what the driver knows), ``driver`` is the CUDA version
    that the driver supports, "" where there is none.
    """
    missing = nvidia.missing(promised)
    found: Dict[str, Any] = {"tensorflow": "", "build": {}}
    problems: List[str] = []
    gpus = None
    if tensorflow:
        try:
            tf = importlib.import_module("tensorflow")
            found["tensorflow"] = tf.version.VERSION
            found["build"] = {key: str(value) for key, value in sorted(tf.sysconfig.get_build_info().items())}
            gpus = len(tf.config.list_physical_devices("GPU"))
            problems.extend(preconditions.build(tf) if promised else [])
        except Exception as error:  # noqa: BLE001 - whatever stops TensorFlow is what the probe is for
            traceback.print_exc()
            problems.append(f"TensorFlow cannot be imported ({type(error).__name__}: {error})")
    there = {name: text for name, text in promised.items() if name not in missing}
    problems.extend(nvidia.invalid_measurements(there) if promised else [])
    driver = libcuda.ask()
    return {
        **found,
        "libraries": {name: _told(name) for name in there},
        "missing": missing,
        "problems": problems,
        "versions": nvidia.versions(),
        "gpus": len(driver.devices) if gpus is None else gpus,
        "driver": driver.version,
        "why_no_gpu": driver.why,
    }


def main(arguments: List[str]) -> int:
    """Print one line of JSON; 0 where nothing is missing and nothing is wrong."""
    given = json.loads(arguments[0])
    with private_stdout() as out:
        found = probe(given["libraries"], tensorflow=given.get("tensorflow", True))
        out.write(json.dumps(found, sort_keys=True) + "\n")
    return 1 if found["missing"] or found["problems"] else 0


def _told(soname: str) -> Dict[str, str]:
    for one in nvidia.of_name(soname, loaded_libraries.libraries()):
        return {"path": one.path.as_posix(), "version": nvidia.version(one.path), "distribution": str(one.owner)}
    return {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
