"""The first code of a side of a pair: give the process its variables and a private /tmp, then run the timing worker.

Both must happen before NumPy and TensorFlow are imported: some variables count only at the start of a process, and a
/tmp can be mounted only before there are threads. An engine starts ``python -m bench.suite.timing_start REQUEST`` in an
empty folder that it deletes afterwards (a container: anywhere). That process starts itself again as ``timing_start
FOLDER REQUEST``, where FOLDER is the folder to mount over /tmp, or "" in a container.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import List, NoReturn

from bench.suite import private_tmp
from bench.suite.driver import process_environment
from bench.suite.record import Request


def main(arguments: List[str]) -> int:
    """Serve the coordinator until it ends the conversation or goes away; failures are answers, not exit codes."""
    if len(arguments) == 1:
        start_again(Request.from_json(arguments[0]))
    folder, request = arguments
    if folder:
        private_tmp.mount(Path(folder))
    from bench.suite import timing_worker  # noqa: PLC0415 - imports NumPy, which starts threads

    return timing_worker.main(Request.from_json(request))


def start_again(request: Request) -> NoReturn:
    """Replace this process by one with the variables of the request, in a private folder."""
    in_container = os.environ.get(private_tmp.IN_CONTAINER) == "1"
    place = private_tmp.Place(None, None, {}) if in_container else private_tmp.place_in(Path.cwd())
    environment = process_environment(request, place.environment)
    if request.device == "gpu":
        # two processes share the memory of this GPU; a hook may have created devices before a call could say so
        environment["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    if place.directory:
        os.chdir(place.directory)
    command = [sys.executable, "-m", "bench.suite.timing_start", str(place.folder or ""), request.to_json()]
    os.execve(sys.executable, command, environment)  # noqa: S606 - no shell is involved


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
