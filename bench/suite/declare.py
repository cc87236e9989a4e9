"""The first process of a run with custom kernels: read what the user's modules declare, inside the environment.

It is started as ``python -m bench.suite.declare REQUEST``, where REQUEST is JSON: ``files`` (``HASH/name.py``) and
``limit_s``, the seconds that each file may take. It prints one line of JSON. Each file is loaded in a process of its
own, which may exit, hang, print or close its streams: its answer is a file, and a trace says which line it has reached.
"""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Dict, List, Optional

from bench.suite import kernel_files
from bench.suite.kernels import custom

#: Bytes of the file that holds the line which is being run.
_PLACE_BYTES = 4096
#: Seconds that Python and the suite may take to start on a busy host with a cold disk.
_START_S = 120.0
_POLL_S = 0.05


def main(arguments: List[str]) -> int:
    """Print what all files declare, or be the process of one file (``--file FILE ANSWER PLACE``)."""
    if arguments[0] == "--file":
        return _load_one(arguments[1], Path(arguments[2]), Path(arguments[3]))
    request = json.loads(arguments[0])
    answers = [_ask(path, float(request["limit_s"])) for path in request["files"]]
    sys.stdout.write(json.dumps({"files": answers}) + "\n")
    return 0


def _ask(path: str, limit_s: float) -> Dict[str, Any]:
    """Return ``path``, ``kernels``, ``error`` ("" if none) and ``fatal`` (the process did not reach its end)."""
    name = path.partition("/")[2]
    with tempfile.TemporaryDirectory(prefix="tfrepro-declare-") as folder:
        answer, place = Path(folder) / "answer", Path(folder) / "place"
        place.write_bytes(bytes(_PLACE_BYTES))
        command = [sys.executable, "-m", "bench.suite.declare", "--file", path, str(answer), str(place)]
        with place.open("rb", buffering=0) as reached:  # stays the same file, whatever the user's code does
            # its output must not mix with ours, and what it leaves running must not hold our pipe open
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=sys.stderr)
            code = _wait(child, reached.fileno(), limit_s)
            where = _reached(reached.fileno()).decode(errors="replace") or name
        problem = f"did not end within {limit_s:g} s" if code is None else f"ended its process ({_ending(code)})"
        if answer.is_file():
            try:
                result: Dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
            except ValueError:  # written by the user's code
                problem = "wrote over the answer of this process"
            else:
                return result
    error = f"{where}: the file {problem} while its kernels were read; it may only declare them"
    return {"path": path, "kernels": [], "error": error, "fatal": True}


def _reached(place: int) -> bytes:
    """Return which line of a file is being run, from the descriptor of the file that says so; empty before any."""
    return os.pread(place, _PLACE_BYTES, 0).rstrip(b"\0")


def _wait(child: subprocess.Popen[bytes], place: int, limit_s: float) -> Optional[int]:
    """Return the exit code of a child, None after killing it; its time counts from when it starts to load the file."""
    started, deadline = False, time.monotonic() + _START_S
    while child.poll() is None:
        if not started and _reached(place):
            started, deadline = True, time.monotonic() + limit_s
        if time.monotonic() > deadline:
            child.kill()
            child.wait()
            return None
        time.sleep(_POLL_S)
    return child.returncode


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def _load_one(path: str, answer: Path, place: Path) -> int:
    store = kernel_files.store_folder()
    name = path.partition("/")[2]
    if store is not None:
        sys.settrace(_tracer(store, place, name))
    loaded = custom.load([path])
    sys.settrace(None)
    error = loaded.errors.get(name, "")
    fatal = _closed()
    if fatal:
        error = f"{name}: the file closed {fatal} while its kernels were read; it may only declare them"
    body = {
        "path": path,
        "kernels": [kernel.declaration() for kernel in loaded.kernels.values()],
        "error": error,
        "fatal": bool(fatal),
    }
    part = answer.with_suffix(".part")
    try:
        text = json.dumps(body)
    except (TypeError, ValueError) as problem:
        text = json.dumps({**body, "kernels": [], "error": f"{name}: an option of kernel() is not plain: {problem}"})
    part.write_text(text, encoding="utf-8")
    part.replace(answer)
    os._exit(0)  # whatever the file has started ends here


def _closed() -> str:
    """Return which standard stream the file has closed, "" if none."""
    streams = {"standard output": (1, sys.stdout), "standard error": (2, sys.stderr)}
    for stream, (descriptor, text) in streams.items():
        try:
            os.fstat(descriptor)
        except OSError:
            return stream
        if text is None or text.closed:
            return stream
    return ""


def _tracer(store: Path, place: Path, name: str) -> Callable[..., Any]:
    """Return a trace function that writes which line of the user's files is being run where the parent can read it."""
    with place.open("r+b") as stream:
        memory = mmap.mmap(stream.fileno(), _PLACE_BYTES)
    memory[: len(name.encode())] = name.encode()  # from now on the time of the file counts

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if event == "call" and not frame.f_code.co_filename.startswith(prefix):
            return None
        text = f"{custom.label(frame.f_code.co_filename, store)}, line {frame.f_lineno}".encode()
        memory[:] = text[:_PLACE_BYTES].ljust(_PLACE_BYTES, b"\0")
        return trace

    prefix = f"{store}/"
    return trace


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
