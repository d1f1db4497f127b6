#!/usr/bin/env bash
# Contrastive Poisoning on real images, CIFAR-10, at a scale for two cores: accuracies of SimCLR
# victims on clean, noisy and poisoned images, at full contrast and at a quarter of it.
#
#   CPTOOLS_DATA=FOLDER examples/cifar10.sh [FOLDER]   # FOLDER has cifar10-jpeg.tar.xz; else a download
#
# SCALE=cpu (default): 5,000 images, ResNet-10 of width 16, 30 epochs; about 25 minutes on 2 free cores (48 CPU minutes).
# SCALE=paper: all images, ResNet-18, 1000 epochs, at full contrast: for a GPU.
# SEEDS="0 1 2" JOBS=2 by default. The second FOLDER (default: examples/results/cifar10) receives
# the reports, one per victim, and README.md.
set -euo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
results=$(realpath -m "${1:-$here/results/cifar10}")
source=cifar10
if [[ -n ${CPTOOLS_DATA:-} ]]; then
    source=$(realpath "$CPTOOLS_DATA/cifar10-jpeg.tar.xz")
fi
case ${SCALE:-cpu} in
    cpu)
        export OMP_NUM_THREADS=1
        size=(--limit 5000 --limit-test 5000)
        contrasts="1 0.25"
        common=(--width 16)
        attack=(--rounds 8 --model-steps 78 --noise-steps 78)
        victim=(--epochs 30)
        probe=()
        ;;
    paper)
        size=()
        contrasts=1
        common=(--recipe paper)
        attack=()
        victim=()
        probe=(--recipe paper)
        ;;
    *)
        echo "cifar10.sh: SCALE is cpu or paper, not $SCALE" >&2
        exit 2
        ;;
esac
mkdir -p "$results"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

victim() {  # NAME SEED CONTRAST < dataset: train, probe, report
    cp-pretrain - "${common[@]}" "${victim[@]}" --jitter "$3" --seed "$2" -q |
        cp-probe "${probe[@]}" --dataset "clean-$3" -q -o "$results/contrast-$3-$1-$2.jsonl"
    echo "contrast $3, $1, seed $2: $(
        grep -o '"accuracy_percent": [0-9.]*' "$results/contrast-$3-$1-$2.jsonl")" >&2
}

seed() {  # SEED CONTRAST
    victim clean "$1" "$2" < "clean-$2"
    cp-generate "clean-$2" --alg simclr --mode sample "${common[@]}" "${attack[@]}" \
        --jitter "$2" --seed "$1" -q | victim cp-s-simclr "$1" "$2"
    cp-perturb "clean-$2" --noise --seed "$1" | victim noise "$1" "$2"
}

for contrast in $contrasts; do
    cp-dataset "$source" "${size[@]}" --contrast "$contrast" -o "clean-$contrast"
done
for seed in ${SEEDS:-0 1 2}; do
    for contrast in $contrasts; do
        while (($(jobs -rp | wc -l) >= ${JOBS:-2})); do wait -n; done
        seed "$seed" "$contrast" &
    done
done
while (($(jobs -rp | wc -l) > 0)); do wait -n; done

shopt -s nullglob
for contrast in $contrasts; do
    cptools report "$results/contrast-$contrast-"{clean,noise,cp-s-simclr}-[0-9]*.jsonl
    echo
done | tee "$results/README.md"
