"""Posts the JSON document on standard input to ``$TFREPRO_WEBHOOK_URL``: an example for ``[nightly] on_alarm``.

It needs only the standard library and ends after ``$TFREPRO_WEBHOOK_TIMEOUT_S`` seconds (default: 20). Of the URL it
prints only the host, because the rest is often a secret. Exit codes: 0 delivered, 1 not delivered, 2 bad input.
"""  # noqa: INP001 - a file to copy, not part of a package

from __future__ import annotations

import json
import os
import sys
import threading
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

#: The program of ``on_alarm`` is ended after this time.
_MOST_S = 60.0


class _NoRedirects(HTTPRedirectHandler):
    """Makes a redirect an error: urllib would follow it without the document, and count that as delivered."""

    def redirect_request(self, *_: object) -> None:
        """Follow nothing."""


def post(url: str, body: bytes, limit_s: float) -> str:
    """Post a JSON document and return what went wrong, or an empty string."""
    problem = f"no answer within {limit_s:g} s"

    def work() -> None:
        nonlocal problem
        try:
            request = Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - main checks the scheme
            with build_opener(_NoRedirects).open(request, timeout=limit_s):
                problem = ""
        except HTTPError as error:
            error.close()
            problem = f"the answer was {error.code}"
        except TimeoutError:
            pass
        except Exception as error:  # noqa: BLE001 - the message of any error may contain the URL
            cause = error.reason if isinstance(error, URLError) else error
            if not isinstance(cause, TimeoutError):
                problem = (isinstance(cause, OSError) and cause.strerror) or type(cause).__name__

    # a thread, because the timeout of a socket is for each step, and there is none for looking up a name
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(limit_s)
    return problem


def main() -> int:
    """Read the document and the environment, and post."""
    url = os.environ.get("TFREPRO_WEBHOOK_URL", "")
    body = sys.stdin.buffer.read()
    try:
        limit_s = float(os.environ.get("TFREPRO_WEBHOOK_TIMEOUT_S", "20"))
        parts = urlsplit(url)
        json.loads(body)
    except ValueError:
        return _say(2, "the URL, the time limit or the JSON on standard input is not valid")
    if parts.scheme not in {"http", "https"} or not parts.hostname or not 0 < limit_s <= _MOST_S:
        return _say(2, f"TFREPRO_WEBHOOK_URL must be an http(s) URL, and the time limit at most {_MOST_S:g} s")
    problem = post(url, body, limit_s)
    return _say(1, f"not delivered to {parts.hostname}: {problem}") if problem else 0


def _say(code: int, text: str) -> int:
    """Print an error and return its exit code."""
    print(f"alarm_webhook: {text}", file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(main())
