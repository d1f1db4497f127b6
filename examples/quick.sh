#!/usr/bin/env bash
# The main pipeline on the built-in images: poison, defend, train victims, probe them, plot.
#
#   examples/quick.sh [FOLDER]      # FOLDER (default: quick) receives everything
set -euo pipefail
mkdir -p "${1:-quick}"
cd "${1:-quick}"

echo "1/4 the pipeline: class-wise BYOL poison, then matrix completion" >&2
cp-generate --alg byol --mode class | cp-defend --mc > byol-class-mc.safetensors

echo "2/4 the strongest poison at this scale: sample-wise SimCLR" >&2
cp-generate --alg simclr --mode sample > poisoned.safetensors
cp-visualize poisoned.safetensors -o poison.png

echo "3/4 two victims: one trains on the clean images, one on the poisoned ones" >&2
cp-pretrain shapes > clean-victim.safetensors
cp-pretrain poisoned.safetensors > poisoned-victim.safetensors
cp-visualize clean-victim.safetensors poisoned-victim.safetensors -o curves.png

echo "4/4 a linear probe of each, on clean labeled images" >&2
for victim in clean poisoned; do
    cp-probe "$victim-victim.safetensors" -o "$victim.jsonl"
done
cptools report clean.jsonl poisoned.jsonl
echo "the poison: $PWD/poison.png; the training curves: $PWD/curves.png" >&2
