#!/bin/sh
# houle beside other engines in one run; see against.py.
exec python3 "$(dirname "$0")/against.py" "$@"
