#!/usr/bin/env bash
# Contrastive Poisoning on all of CIFAR-10, as far as one GPU comes in MINUTES (default: 9):
#
#   CPTOOLS_DATA=FOLDER examples/gpu.sh [OUT]    # FOLDER has cifar10-jpeg.tar.xz; else a download
#
# In this order: the speed, and its share of what the card gives; class-wise poison; SimCLR victims of
# clean, of noisy and of poisoned images; sample-wise poison and its victim; matrix completion and
# adversarial SimCLR; MoCo and BYOL. OUT (default: examples/build/gpu) receives a report a victim, the
# class-wise deltas, and README.md. Rounds and epochs are planned once, from the speed, and stand in
# OUT/plan; the same OUT carries on where the time was up. Datasets lie in WORK (default: OUT/work),
# and are made again if they are gone.
#
# SEED=0, NETWORK="--recipe paper" and DATASET= (any source of cp-dataset) as you like.
set -euo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
out=$(realpath -m "${1:-$here/build/gpu}")
work=$(realpath -m "${WORK:-$out/work}")
seed=${SEED:-0}
read -ra network <<< "${NETWORK:---recipe paper}"
source=${DATASET:-cifar10}
if [[ -z ${DATASET:-} && -n ${CPTOOLS_DATA:-} ]]; then
    source=$(realpath "$CPTOOLS_DATA/cifar10-jpeg.tar.xz")
fi
for name in dataset perturb generate pretrain probe defend; do  # from the source tree, if need be
    command -v "cp-$name" > /dev/null || eval "cp-$name() { python3 -m cptools.cli.$name \"\$@\"; }"
done
command -v cptools > /dev/null || cptools() { python3 -m cptools.cli.cptools "$@"; }
mkdir -p "$out" "$work"
step=$here/../tests/benchmarks/step.py

end() {
    shopt -s nullglob
    reports=("$out"/*-[0-9]*.jsonl)
    ((${#reports[@]} == 0)) || cptools report "${reports[@]}" | tee "$out/README.md"
    exit
}

fits() {  # SECONDS FOR: stop where the time would be up before
    if ((SECONDS + $1 > 60 * ${MINUTES:-9})); then
        echo "gpu.sh: $2 takes about $1 s and the time is up at ${MINUTES:-9} minutes; run it again to carry on" >&2
        end
    fi
}

plan() {  # rounds and epochs: a fifth of the time for each poison, a sixth for each victim
    python3 - "$out/speed.json" "$work/info" "$1" "$((60 * ${MINUTES:-9} - SECONDS))" << 'END'
import json, sys
speed, info, cell, left = json.load(open(sys.argv[1])), json.load(open(sys.argv[2])), *map(float, sys.argv[3:])
model, noise = speed["model step (ms)"] / 1e3, speed["noise step (ms)"] / 1e3
batches = max(1, info["train_images"] // speed["batch_size"])
fixed = max(0.0, cell - batches * model)  # of starting, probing and writing
victim = max(1, int((left / 6 - fixed) / (batches * model)))
classes = max(1, int((left / 5 - fixed) / (20 * (model + noise))))
samples = max(1, int((left / 6 - fixed) / (batches * (model + 5 * noise))))
print(f"epochs={min(victim, 1000)} class_rounds={min(classes, 1000)} sample_rounds={min(samples, 200)}")
print(f"victim_seconds={int(fixed + min(victim, 1000) * batches * model) + 1}")
print(f"class_seconds={int(fixed + min(classes, 1000) * 20 * (model + noise)) + 1}")
print(f"sample_seconds={int(fixed + min(samples, 200) * batches * (model + 5 * noise)) + 1}")
END
}

train() {  # NAME DATASET EPOCHS [OPTION...]
    cp-pretrain "$work/$2" "${network[@]}" --epochs "$3" --warmup-epochs $((($3 + 9) / 10)) --seed "$seed" "${@:4}" -q |
        cp-probe --dataset "$work/clean" -q -o "$out/$1-$seed.jsonl"
    echo "$SECONDS s: $1 $(grep -o '"accuracy_percent": [0-9.]*' "$out/$1-$seed.jsonl")" >&2
}

victim() {  # NAME DATASET TIMES [OPTION...]: TIMES is its cost in victims of SimCLR
    [[ -s $out/$1-$seed.jsonl ]] || { fits $(($3 * victim_seconds)) "$1" && "$2" && train "$1" "$2" "$epochs" "${@:4}"; }
}

# Datasets, each made when it is needed first.
clean() { :; }
noise() { [[ -s $work/noise ]] || cp-perturb "$work/clean" --noise --seed "$seed" -o "$work/noise"; }
class_poison() {  # ALG
    [[ -s $work/cp-c-$1 ]] && return
    if [[ ! -s $out/cp-c-$1.delta.safetensors ]]; then
        fits "$class_seconds" "class-wise poison of $1"
        cp-generate "$work/clean" --alg "$1" --mode class "${network[@]}" --bn-groups 1 --rounds "$class_rounds" \
            --model-steps 20 --noise-steps 20 --half --seed "$seed" -q --delta "$out/cp-c-$1.delta.safetensors" -o /dev/null
    fi
    cp-perturb "$work/clean" --delta "$out/cp-c-$1.delta.safetensors" -o "$work/cp-c-$1"
}
cp-c-simclr() { class_poison simclr; }
cp-c-moco() { class_poison moco; }
cp-c-byol() { class_poison byol; }
cp-s-simclr() {
    [[ -s $work/cp-s-simclr ]] && return
    fits $((sample_seconds + victim_seconds)) "sample-wise poison with a victim"
    cp-generate "$work/clean" --alg simclr --mode sample "${network[@]}" --bn-groups 1 --rounds "$sample_rounds" \
        --pgd-steps 5 --seed "$seed" -q -o "$work/cp-s-simclr"
}
mc() {  # DATASET
    [[ -s $work/$1-mc ]] || { "$1" && cp-defend "$work/$1" --mc --seed "$seed" -q -o "$work/$1-mc"; }
}
clean-mc() { mc clean; }
cp-c-simclr-mc() { mc cp-c-simclr; }
cp-s-simclr-mc() { mc cp-s-simclr; }

[[ -s $work/clean ]] || cp-dataset "$source" -o "$work/clean"
cp-dataset "$work/clean" --info > "$work/info"
if [[ ! -s $out/plan ]]; then
    PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}" python3 "$step" "${network[@]}" --rounds 3 --json --profile > "$out/speed.json"
    cat "$out/speed.json" >&2
    before=${EPOCHREALTIME/./}
    train speed clean 1
    mv "$out/speed-$seed.jsonl" "$work"
    plan "$(((${EPOCHREALTIME/./} - before) / 1000000))" > "$work/plan"
    mv "$work/plan" "$out/plan"
fi
cat "$out/plan" >&2
. "$out/plan"

cp-c-simclr
victim clean clean 1
victim noise noise 1
victim cp-c-simclr cp-c-simclr 1
victim cp-s-simclr cp-s-simclr 1
for name in clean cp-c-simclr cp-s-simclr; do victim "$name-mc" "$name-mc" 1; done
for name in clean cp-c-simclr cp-s-simclr; do
    victim "$name-advsimclr" "$name" 3 --alg advsimclr --adv-steps 1 --adv-step-size 1
done
for alg in moco byol; do
    "cp-c-$alg"
    victim "clean-$alg" clean 1 --alg "$alg"
    victim "cp-c-$alg" "cp-c-$alg" 1 --alg "$alg"
done
end
