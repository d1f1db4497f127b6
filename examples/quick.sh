#!/usr/bin/env bash
# The main job on the built-in pictures: poison, defend, train victims, probe them, look.
#
#   examples/quick.sh [FOLDER]      # FOLDER (default: quick) receives all artifacts
set -euo pipefail
mkdir -p "${1:-quick}"
cd "${1:-quick}"

echo "poisoning the built-in pictures, and cleaning them again" >&2
cp-generate --alg byol --mode class | tee poisoned.safetensors | cp-defend --mc > defended.safetensors
cp-visualize poisoned.safetensors -o poison.png

echo "training a victim on the clean pictures, and one on the poisoned ones" >&2
cp-pretrain shapes -o clean-victim.safetensors
cp-pretrain poisoned.safetensors -o poisoned-victim.safetensors
cp-visualize clean-victim.safetensors poisoned-victim.safetensors -o curves.png

for victim in clean poisoned; do
    cp-probe "$victim-victim.safetensors" -o "$victim.jsonl"
done
cptools report clean.jsonl poisoned.jsonl
echo "the poison: $PWD/poison.png; the training curves: $PWD/curves.png" >&2
