#!/bin/sh
# The speed of every family, without weights; see families.py.
exec python3 "$(dirname "$0")/families.py" "$@"
