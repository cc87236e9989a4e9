#!/bin/sh
# Starts a tfrepro bundle on an offline host: verifies its parts, installs, measures, and writes one records archive.
# Needs Python 3.9 or newer (and, for a bundle of virtual environments, the Python minor it was made for).
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
for python in "${TFREPRO_PYTHON:-}" python3 python3.13 python3.12 python3.11 python3.10 python3.9; do
    [ -n "$python" ] || continue
    if "$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
        exec "$python" -I "$here/bundle_start.py" "$@"
    fi
done
echo "error: no Python 3.9 or newer was found; set TFREPRO_PYTHON to its path" >&2
exit 2
