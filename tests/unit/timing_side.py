"""A timing worker without TensorFlow: kernels are names that say what happens, on side "b" alone where it fails.

The tests copy it to ``bench/suite/timing_start.py`` of a suite of its own. Mode "on" makes a process side "b".
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

REQUEST: dict[str, Any] = json.loads(sys.argv[1])
SIDE = "b" if REQUEST["mode"] == "on" else "a"
#: Seconds of a call of each side.
CALL_S = {"a": 0.002, "b": 0.003}


def say(kind: str, /, **body: object) -> None:
    sys.stdout.write(json.dumps({"line": kind, **body}) + "\n")
    sys.stdout.flush()


def fail(when: str, kernel: str) -> bool:
    """Do what a kernel's name says, at a command like ``prepare`` or ``block``; returns whether it was an answer."""
    if SIDE != "b" or not kernel.endswith(f"_{when}"):
        return False
    what = kernel.split("_", maxsplit=1)[0]
    if what == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "exits":
        sys.exit(3)
    elif what == "hangs":
        time.sleep(60)
    elif what == "forks" and os.fork() == 0:
        time.sleep(60)  # it holds the output open
    elif what == "forks":
        os._exit(4)
    elif what == "cut":
        sys.stdout.write('{"line": "blo')
        sys.stdout.flush()
        os._exit(5)
    elif what in ("raises", "breaks"):
        say("failed", outcome="error", message=f"ValueError: {kernel}", usable=what == "raises")
    return True


def main() -> None:
    context = REQUEST["context"]
    if SIDE == "b" and (context.get("start") == "dies" or "custom_start" in REQUEST["kernels"]):
        sys.exit(9)
    if SIDE == "b" and context.get("start") == "mismatch":
        say("failed", outcome="mismatch", message="another TensorFlow", usable=False)
        return
    say(
        "process", pid=os.getpid(), started="", provenance={}, settings={"mode": REQUEST["mode"]},
        suite_hash=context.get("suite", "s"), no_gpu=context.get("no_gpu", "") if SIDE == "b" else "",
    )  # fmt: skip
    kernel = ""
    for text in sys.stdin:
        command = json.loads(text)
        if command["do"] == "end":
            say("loaded", libraries={"side": SIDE})
            return
        kernel = command.get("kernel", kernel)
        if fail(command["do"], kernel):
            continue
        if command["do"] == "prepare":
            kind = "first" if kernel.startswith("once") else "steady"
            rebuild_s = {"brief": 0.0001, "once_briefly": 0.01, "once_for_long": 3.0}.get(kernel, 0.1)
            say("prepared", kind=kind, first_s=0.1, rebuild_s=rebuild_s)
        elif command["do"] == "warm-up":
            slow = 0.2 if kernel.startswith("slow") else CALL_S[SIDE]
            say("warm", call_s=0.0001 if kernel.startswith("brief") else slow)
        elif command["do"] == "rebuild":
            say("rebuilt")
        elif command["do"] == "block":
            say("block", seconds=[CALL_S[SIDE]] * 3, cpu_seconds=[0.001] * 3, switches=1)
        else:
            say("released", usable=not kernel.startswith("changes"))


main()
