#!/usr/bin/env bash
# Remakes the tables on diffusion models in docs/results.md with the commands that users type.
#
#     benchmarks/diffusion.sh OUT models         # an autoencoder and a small DiT of CIFAR-10's training images
#     benchmarks/diffusion.sh OUT sets           # SRe2L at ten images a class, random reals, DC's published set
#     benchmarks/diffusion.sh OUT refine         # DIVER, its ablation, its controls, its three targets
#     benchmarks/diffusion.sh OUT students       # the distillation network and five others, three seeds
#     benchmarks/diffusion.sh OUT published      # DC's set and DIVER's of it
#     benchmarks/diffusion.sh OUT edits          # a small Stable Diffusion; EDITS, D4M and a control; students
#
# Finished parts are not repeated. Assets are found by ATTAR_ASSETS, else ../shared/assets. Lengths are those of two
# CPU cores; VAE_STEPS, DIT_STEPS and EPOCHS make them longer.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1; shift
assets=${ATTAR_ASSETS:-../shared/assets}
train=$assets/data/cifar10/train.npz
test=$assets/data/cifar10/test.npz
attar=${ATTAR:-.venv/bin/attar}
python=${PYTHON:-.venv/bin/python}
others="--student convnet3 --student resnetap10 --student resnet10t --student mobilenetv2_050 --student mobilevit_xxs"
protocol=hard-rded/epochs=${EPOCHS:-60}
mkdir -p "$out"

models() {
    [ -f "$out/dit/transformer/config.json" ] ||
        $python examples/train_tiny_dit.py "$train" --side 32 --out "$out/dit" --vae-steps "${VAE_STEPS:-6000}" --steps "${DIT_STEPS:-5000}"
}

sets() {
    [ -f "$out/net.safetensors" ] ||
        $attar squeeze "$train" --arch cifar_resnet20 --precision bf16 --epochs 60 --out "$out/net.safetensors"
    $attar distill "$train" --method sre2l --backbone "$out/net.safetensors" --ipc 10 --steps 500 --precision bf16 --out "$out/sre2l"
    $attar distill "$train" --method random --backbone "$out/net.safetensors" --ipc 10 --out "$out/random"
    $attar import "$assets/data/distilled_cifar10_dc/dc_10ipc.safetensors" --mean .4914,.4822,.4465 --std .2023,.1994,.2010 \
        --clip --classes airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck --method dc --architecture convnet3 --out "$out/dc"
}

refine() {
    local diver="$attar refine $out/sre2l --model $out/dit --cfg 2"  # benchmarks/guidance.py says why 2
    $diver --out "$out/diver"
    $diver --no-sg --out "$out/si"
    $diver --no-si --no-sf --out "$out/sg"
    $diver --no-sf --out "$out/si+sg"
    $diver --target renoised --out "$out/renoised"
    $diver --target x0hat --out "$out/x0hat"
    $diver --start-index 25 --no-sg --out "$out/sdedit"
    $diver --no-si --no-sg --out "$out/class-only"
    $diver --vae-only --out "$out/vae-only"
    $attar refine "$out/sre2l" --model "$out/dit" --out "$out/cfg4"
    $attar refine "$out/random" --model "$out/dit" --cfg 2 --out "$out/random+diver"
}

students() {
    local made=("$out"/{sre2l,diver,vae-only,class-only,random+diver,si,sg,si+sg,renoised,x0hat,cfg4,sdedit})
    $attar evaluate "${made[@]}" --train "$train" --test "$test" --student cifar_resnet20 $others -p "$protocol" --out "$out/students"
}

published() {
    $attar refine "$out/dc" --model "$out/dit" --cfg 2 --out "$out/dc+diver"
    $attar evaluate "$out/dc" "$out/dc+diver" --test "$test" --student cifar_resnet20 $others -p "$protocol" --out "$out/published"
}

edits() {
    [ -f "$out/captions.jsonl" ] || $python benchmarks/edits_captions.py "$train" "$out/captions.jsonl"
    [ -f "$out/sd/unet/config.json" ] ||
        $python examples/train_tiny_sd.py "$train" --captions "$out/captions.jsonl" --vae "$out/dit/vae" --steps "${SD_STEPS:-1000}" --out "$out/sd"
    local common="$train --model $out/sd --ipc 10 --fine-tuned yes"
    # a CLIP was not at hand: what is clustered are latents
    $attar edits run $common --fuse vae --captions "$out/captions.jsonl" --guidance 2 --out "$out/edits"
    $attar edits run $common --preset d4m --guidance 2 --out "$out/d4m"
    $attar edits generate $common --fuse vae --captions "$out/captions.jsonl" --guidance 2 --control decode --prototypes "$out/edits" --out "$out/edits-decode"
    $attar evaluate "$out"/{edits,d4m,edits-decode} --train "$train" --test "$test" --student cifar_resnet20 $others -p "$protocol" --out "$out/edits-students"
}

for part in "$@"; do
    "$part"
done
