"""The first code of a worker process: isolate the process, then run ``bench.suite.worker``.

It must run before NumPy and TensorFlow are imported, because they start threads. The driver starts it as
``python -m bench.suite.worker_start DRIVER FOLDER REQUEST PROCESS``, where FOLDER is the folder to mount over /tmp, or
"" in a container.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import List

from bench.suite import private_tmp, processes


def main(arguments: List[str]) -> None:
    """Isolate this process, run the worker and end the process; never returns.

    The process ends without Python's shutdown, which would wait for the threads and run the exit handlers that a
    kernel left behind.
    """
    driver, folder, request, process = arguments
    os.setpgid(0, 0)  # a kernel that signals its process group must not reach the driver
    private = private_tmp.mount(Path(folder)) if folder else True
    processes.die_with_parent(int(driver))
    processes.adopt_orphans()
    from bench.suite import worker  # noqa: PLC0415 - imports NumPy, which starts threads

    code = 1
    try:
        code = worker.main([request, process], private_tmp=private)
    except SystemExit as error:  # a kernel called sys.exit
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - whatever it is, the process ends here
        worker.log_traceback()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # a kernel closed or replaced it
                stream.flush()
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
