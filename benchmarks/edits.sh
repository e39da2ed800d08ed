#!/usr/bin/env bash
# EDITS, VLCP and D4M end to end on Imagenette, and the controls of EDITS, with the commands that users type.
#
#     benchmarks/edits.sh OUT
#
# Without models of your own it builds a tiny CLIP and a tiny Stable Diffusion of random weights: then the images mean
# nothing, and what is shown is that all stages work together, and how long they take. With real ones:
#
#     MODEL=stable-diffusion-v1-5/stable-diffusion-v1-5 CLIP=openai/clip-vit-base-patch32 IPC=10 LIMIT=1300 \
#         STEPS=50 SIZE=256 benchmarks/edits.sh OUT
#
# Captions are measured, not seen (benchmarks/edits_captions.py); CAPTIONS=FILE takes others. CONTROLS="..." chooses among
# EDITS' controls: all five with a MODEL, else two. Assets are found by ATTAR_ASSETS, else ../shared/assets. Finished
# parts are not repeated.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1
assets=${ATTAR_ASSETS:-../shared/assets}
train=$assets/data/imagenette224/train
attar=${ATTAR:-.venv/bin/attar}
python=${PYTHON:-.venv/bin/python}
limit=${LIMIT:-12}
controls=${CONTROLS:-${MODEL:+medoid vae image-only} decode text-only}
mkdir -p "$out"

if [ -z "${MODEL:-}" ]; then
    [ -d "$out/models/sd" ] || PYTHONPATH=tests $python - "$out/models" <<'PYTHON'
import sys
from pathlib import Path

import tiny_diffusion
from diffusers import UNet2DConditionModel

folder = Path(sys.argv[1])
tiny_diffusion.save_clip(folder / "clip")
sd = tiny_diffusion.stable_diffusion()
sd.unet = UNet2DConditionModel.from_config({**sd.unet.config, "sample_size": 32})  # images of 64 pixels
sd.save_pretrained(folder / "sd")
PYTHON
    echo "No MODEL was given: the weights are random, so the images mean nothing."
fi
model=${MODEL:-$out/models/sd}
clip=${CLIP:-$out/models/clip}
captions=${CAPTIONS:-$out/captions.jsonl}
[ -f "$captions" ] || $python benchmarks/edits_captions.py "$train" "$captions" --limit "$limit"

common=("$train" --model "$model" --clip "$clip" --ipc "${IPC:-2}" --limit "$limit" --steps "${STEPS:-10}"
    --out-size "${SIZE:-64}" --fine-tuned "${FINE_TUNED:-no}")
$attar edits run "${common[@]}" --captions "$captions" --out "$out/edits"
$attar edits run "${common[@]}" --captions "$captions" --preset vlcp --out "$out/vlcp"
$attar edits run "${common[@]}" --preset d4m --out "$out/d4m"
for control in $controls; do
    $attar edits generate "${common[@]}" --captions "$captions" --control $control --prototypes "$out/edits" --out "$out/edits-$control"
done
for set in "$out"/{edits,vlcp,d4m,edits-*}; do
    case $set in *.run) ;; *) $attar verify "$set" ;; esac
done
