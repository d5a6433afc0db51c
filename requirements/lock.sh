#!/usr/bin/env bash
# Resolves direct.in beside the torch of torch-cuda.txt into lock.txt: every package that is needed, exact, with hashes.
# torch and torchvision themselves, and the CUDA libraries that torch brings, are left out: their builds differ.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3.11 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pip-tools
cat direct.in torch-cuda.txt >"$work/all.in"
"$work/venv/bin/pip-compile" --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
  --output-file "$work/lock.txt" "$work/all.in"
awk '/^[A-Za-z0-9]/ { keep = !/^(torch|torchvision|triton|nvidia-[a-z0-9-]*|cuda-[a-z0-9-]*)==/ } keep' "$work/lock.txt" >lock.txt
