#!/bin/sh
# houle beside llama.cpp:  bench/against_llama_cpp.sh LLAMA_BENCH MODEL.gguf...   (prompt 512, generation 64, two threads)
set -eu
peer=$1
shift
exec python3 "$(dirname "$0")/against.py" "$peer" -- "$@"
