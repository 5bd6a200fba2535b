#!/bin/sh
# houle serve under load, beside llama-server if one is given; see serve.py.
exec python3 "$(dirname "$0")/serve.py" "$@"
