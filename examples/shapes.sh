#!/usr/bin/env bash
# The effect on the built-in images, over seeds: how much accuracy each poison costs a SimCLR victim,
# and how much matrix completion restores.
#
#   examples/shapes.sh [FOLDER]     # SEEDS="0 1 2 3 4" JOBS=2 by default; about 20 minutes on 2 free cores
#
# FOLDER (default: examples/results/shapes) receives the reports, one per victim, and README.md.
set -euo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
results=$(realpath -m "${1:-$here/results/shapes}")
export OMP_NUM_THREADS=1
mkdir -p "$results"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

victim() {  # NAME SEED < dataset: train, probe, report
    cp-pretrain --seed "$2" -q - | cp-probe -q -o "$results/$1-$2.jsonl"
    echo "$1, seed $2: $(grep -o '"accuracy_percent": [0-9.]*' "$results/$1-$2.jsonl")" >&2
}

seed() {
    cp-dataset shapes | victim clean "$1"
    cp-perturb shapes --noise --seed "$1" | victim noise "$1"
    cp-generate shapes --alg simclr --mode sample --seed "$1" -q -o "sample-$1"
    victim cp-s-simclr "$1" < "sample-$1"
    cp-generate shapes --alg simclr --mode class --seed "$1" -q | victim cp-c-simclr "$1"
    cp-generate shapes --alg byol --mode class --seed "$1" -q | victim cp-c-byol "$1"
    cp-defend --mc --seed "$1" -q "sample-$1" | victim cp-s-simclr-mc "$1"
    cp-dataset shapes | cp-defend --mc --seed "$1" -q | victim clean-mc "$1"
}

for seed in ${SEEDS:-0 1 2 3 4}; do
    while (($(jobs -rp | wc -l) >= ${JOBS:-2})); do wait -n; done
    seed "$seed" &
done
while (($(jobs -rp | wc -l) > 0)); do wait -n; done

shopt -s nullglob
cptools report "$results"/{clean,noise,cp-s-simclr,cp-c-simclr,cp-c-byol,cp-s-simclr-mc,clean-mc}-[0-9]*.jsonl |
    tee "$results/README.md"
