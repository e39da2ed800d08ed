#!/usr/bin/env bash
# Remakes the tables on networks trained from scratch in docs/results.md with the commands that users type.
#
#     benchmarks/scratch.sh OUT squeeze          # one network with labels, one without, on the same images
#     benchmarks/scratch.sh OUT sets             # SRe2L, CDA, SC-DD, RDED at 10 and 50 images a class
#     benchmarks/scratch.sh OUT students         # one post-training for all, hard and soft labels, three seeds
#     benchmarks/scratch.sh OUT both             # these sets on frozen backbones, SFM's images for the students
#     benchmarks/scratch.sh OUT blocks two prune # smaller blocks; two classes; pruning without the data
#
# Finished parts are not repeated. Assets are found by ATTAR_ASSETS, else ../shared/assets. Lengths are those of two
# CPU cores; EPOCHS, STEPS and SSL_EPOCHS make them longer, ARCH another network.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1; shift
assets=${ATTAR_ASSETS:-../shared/assets}
train=$assets/data/cifar10/train.npz
test=$assets/data/cifar10/test.npz
attar=${ATTAR:-.venv/bin/attar}
arch=${ARCH:-cifar_resnet20}
mkdir -p "$out"

squeeze() {
    $attar squeeze "$train" --arch "$arch" --precision bf16 --epochs "${EPOCHS:-60}" --out "$out/supervised.safetensors"
    $attar squeeze "$train" --arch "$arch" --precision bf16 --epochs "${SSL_EPOCHS:-60}" --ssl simclr --out "$out/simclr.safetensors"
    $attar bn-report "$out/simclr.safetensors" "$out/supervised.safetensors" --out "$out/bn"
}

sets() {
    local ipc method
    for ipc in 10 50; do
        for method in sre2l cda; do
            $attar distill "$train" --method $method --backbone "$out/supervised.safetensors" --ipc $ipc --steps "${STEPS:-500}" --precision bf16 --out "$out/$method-$ipc"
        done
        $attar distill "$train" --method scdd --backbone "$out/simclr.safetensors" --ipc $ipc --steps "${STEPS:-500}" --precision bf16 --out "$out/scdd-$ipc"
        $attar distill "$train" --method rded --backbone "$out/supervised.safetensors" --ipc $ipc --out "$out/rded-$ipc"
    done
}

students() {
    local ipc epochs
    for ipc in 10 50; do
        epochs=$((ipc == 10 ? 150 : 40))
        $attar evaluate "$out"/{sre2l,cda,scdd,rded}-$ipc --train "$train" --test "$test" --student "$arch" \
            --teacher "$out/supervised.safetensors" -p "hard-rded/epochs=$epochs" -p "soft-rded/epochs=$epochs" \
            --precision bf16 --out "$out/students-$ipc"
        $attar evaluate "$out"/scdd-$ipc --train "$train" --test "$test" --student "$arch" \
            --teacher "$out/simclr.safetensors" -p "soft-rded/epochs=$epochs" --precision bf16 --out "$out/students-$ipc-own-teacher"
    done
}

both() {
    local r20="--backbone cifar_resnet20 --weights $assets/weights/cifar_resnet20.safetensors"
    $attar distill "$train" $r20 --preset fast --ipc 10 --out "$out/sfm-10"
    local made=("$out"/{sfm,scdd,sre2l,cda,rded}-10)
    $attar evaluate "${made[@]}" --train "$train" --test "$test" $r20 -p probe-v1 --out "$out/probed-on-resnet20"
    $attar evaluate "${made[@]}" --train "$train" --test "$test" --backbone "$out/simclr.safetensors" -p probe-v1 --out "$out/probed-on-simclr"
    $attar evaluate "${made[@]}" --train "$train" --test "$test" --student "$arch" --teacher "$out/supervised.safetensors" \
        -p hard-rded/epochs=150 -p soft-rded/epochs=150 --precision bf16 --out "$out/students-10-with-sfm"
}

blocks() {
    $attar distill "$train" --method scdd --backbone "$out/simclr.safetensors" --ipc 10 --steps "${STEPS:-500}" --precision bf16 --set block=10 --out "$out/scdd-10-block10"
    $attar evaluate "$out/scdd-10-block10" "$out/scdd-10" --test "$test" --student "$arch" --teacher "$out/supervised.safetensors" \
        -p soft-rded/epochs=150 --precision bf16 --out "$out/blocks"
}

two() {
    $attar squeeze "$train" --classes cat,ship --arch "$arch" --precision bf16 --epochs 20 --out "$out/two.safetensors"
    $attar distill "$train" --classes cat,ship --method sre2l --backbone "$out/two.safetensors" --ipc 10 --steps 200 --set block=4 --out "$out/two"
}

prune() {
    $attar squeeze "$train" --arch cifar_resnet20 --weights "$assets/weights/cifar_resnet20.safetensors" \
        --mean .485,.456,.406 --std .229,.224,.225 --out "$out/published.safetensors"
    $attar distill "$train" --method sre2l --backbone "$out/published.safetensors" --ipc 10 --steps 300 --precision bf16 --out "$out/published-10"
    ${PYTHON:-.venv/bin/python} examples/data_free_pruning.py "$out/published.safetensors" "$out/published-10" --train "$train" --limit 50 \
        --test "$test" --protocol soft-sre2l-cifar/epochs=40 --out "$out/pruning.json"
}

for part in "$@"; do
    case $part in
    squeeze | sets | students | both | blocks | two | prune) "$part" ;;
    *) echo "unknown part $part" >&2; exit 2 ;;
    esac
done
