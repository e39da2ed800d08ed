#!/usr/bin/env bash
# Remakes the tables of docs/results.md with the commands that users type.
#
#     benchmarks/results.sh OUT [CELL ...]      # cells: woof-vit nette-vit both-vit ... cifar-fast cifar-ipc10-sub nette-two
#                                               # matrices: woof-matrix both-matrix woof-ipc10-matrix cifar-matrix
#                                               # rivals: cifar-versus woof-versus
#
# Finished runs are not repeated. Assets are found by ATTAR_ASSETS, else ../shared/assets.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1; shift
assets=${ATTAR_ASSETS:-../shared/assets}
data=$assets/data
attar=${ATTAR:-.venv/bin/attar}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$out"

images() { # set part
    case $1 in
    woof) echo "$data/imagewoof224/$2" ;;
    nette) echo "$data/imagenette224/$2" ;;
    both) echo "$data/imagenette224/$2+$data/imagewoof224/$2" ;;
    cifar) echo "$data/cifar10/${2/val/test}.npz" ;;
    esac
}

network() { # backbone, or several joined by +
    case $1 in
    *+*) echo "$(network "${1%%+*}") $(network "${1#*+}")" ;;
    vit) echo "--backbone vit_tiny_patch16_224 --weights $assets/weights/vit_tiny_patch16_224.safetensors" ;;
    mobile) echo "--backbone mobilenetv2_100 --weights $assets/weights/mobilenetv2_100.safetensors" ;;
    simclr) echo "--backbone resnet18 --image-size 64 --weights $assets/weights/resnet18_simclr_imagenette64.safetensors" ;;
    squeeze) echo "--backbone torchvision:squeezenet1_1 --weights $assets/weights/squeezenet1_1.safetensors" ;;
    resnet56) echo "--backbone cifar_resnet56 --weights $assets/weights/cifar_resnet56.safetensors" ;;
    resnet20) echo "--backbone cifar_resnet20 --weights $assets/weights/cifar_resnet20.safetensors" ;;
    esac
}

cell() { # set backbone seeds name options...
    local set=$1 backbone=$2 seeds=$3 name=$4; shift 4
    [ -s "$out/$name.json" ] && return
    $attar distill "$(images "$set" train)" $(network "$backbone") --seeds "$seeds" --out "$out/$name" "$@"
    local made=("$out/$name"-[0-9])
    [ -d "${made[0]}" ] || made=("$out/$name")
    $attar evaluate "${made[@]}" --train "$(images "$set" train)" --test "$(images "$set" val)" $(network "$backbone") --json > "$out/$name.json.part"
    mv "$out/$name.json.part" "$out/$name.json"
}

matrix() { # set ipc networks evaluated-on options...: every network's sets, three seeds each, measured on every other
    local set=$1 ipc=$2 networks=$3 columns=$4 made=() name; shift 4
    local folder="$out/$set-matrix"
    [ "$ipc" = 1 ] || folder="$out/$set-ipc$ipc-matrix"
    for name in $networks; do
        local target="$folder-${name/+/-}"
        $attar distill "$(images "$set" train)" $(network "$name") --preset fast --ipc "$ipc" --seeds 3 --out "$target" "$@"
        made+=("$target"-[0-9])
    done
    $attar evaluate "${made[@]}" --train "$(images "$set" train)" --test "$(images "$set" val)" $(on_each "$columns") \
        -p probe-v1 -p probe-v1/std -p inherit-ridge-v1 -p inherit-authors/bank20 --controls --out "$folder"
}

versus() { # set backbone seeds: two targets of flow matching, one view a step, against gradient matching with ten views
    local set=$1 backbone=$2 seeds=$3 target="$out/$1-versus-$2" each
    for each in means learned; do
        $attar distill "$(images "$set" train)" $(network "$backbone") --preset fast --set "target=$each" --seeds "$seeds" --out "$target-$each"
    done
    $attar distill "$(images "$set" train)" $(network "$backbone") --preset fast --method clp --seeds "$seeds" --out "$target-clp"
    $attar distill "$(images "$set" train)" $(network "$backbone") --preset fast --method lgm --views 10 --seeds "$seeds" --out "$target-lgm"
    for each in means learned clp; do
        $python benchmarks/versus.py "$target-$each"-[0-9] --against "$target-lgm"-[0-9] --test "$(images "$set" val)" $(network "$backbone")
    done
}

on_each() { # networks: options with one image size for each, as the weak ResNet-18 wants 64 pixels
    local name
    for name in $1; do
        network "$name" | sed 's/--image-size [0-9]*//'
        case $name in simclr) echo "--image-size 64" ;; resnet*) echo "--image-size 32" ;; *) echo "--image-size 224" ;; esac
    done
}

two() { # Imagenette on two backbones at once, and on each alone; all three measured on both
    [ -s "$out/nette-two.json" ] && return
    local data=$(images nette train) both=$(network vit+mobile) name
    for name in vit mobile vit+mobile; do
        $attar distill "$data" $(network $name) --preset fast "${means[@]}" --out "$out/nette-one-${name/vit+mobile/two}"
    done
    $attar evaluate "$out"/nette-one-{vit,mobile,two} --train "$data" --test "$(images nette val)" $both --json \
        > "$out/nette-two.json.part"
    mv "$out/nette-two.json.part" "$out/nette-two.json"
}

means=(--set target=means) # the default of the day these tables were made
short=(--steps 200 --set grow_every=10) # half of the preset's, for 100 images of 256 px

for name in "${@:-woof-vit nette-vit both-vit woof-mobile nette-mobile both-mobile woof-simclr nette-simclr both-simclr
                 cifar-fast cifar-attar cifar-paper cifar-ipc10 cifar-ipc10-sub woof-mobile-ipc10 woof-mobile-ipc10-sub
                 nette-two}"; do
    for each in $name; do
        case $each in
        cifar-ipc10) cell cifar resnet20 3 "$each" --preset fast --ipc 10 "${means[@]}" ;;
        cifar-ipc10-sub) cell cifar resnet20 3 "$each" --preset fast --ipc 10 --method sfm-sub ;;
        woof-mobile-ipc10) cell woof mobile 1 "$each" --preset fast --ipc 10 "${short[@]}" "${means[@]}" ;;
        woof-mobile-ipc10-sub) cell woof mobile 1 "$each" --preset fast --ipc 10 --method sfm-sub "${short[@]}" ;;
        nette-two) two ;;
        cifar-versus) versus cifar resnet20 5 ;;
        woof-versus) versus woof squeeze 2 ;;
        woof-matrix) matrix woof 1 "vit mobile squeeze vit+mobile" "vit mobile squeeze simclr" "${means[@]}" ;;
        both-matrix) matrix both 1 "simclr squeeze" "vit mobile squeeze simclr" "${means[@]}" ;;
        woof-ipc10-matrix) matrix woof 10 "simclr squeeze" "squeeze simclr" "${short[@]}" "${means[@]}" ;;
        cifar-matrix) matrix cifar 1 "resnet20 resnet56" "resnet20 resnet56" "${means[@]}" ;;
        cifar-fast) cell cifar resnet20 5 "$each" --preset fast "${means[@]}" ;;
        cifar-*) cell cifar resnet20 2 "$each" --preset "${each#cifar-}" "${means[@]}" ;;
        nette-*) cell nette "${each#nette-}" "${SEEDS_NETTE:-3}" "$each" --preset fast "${means[@]}" ;;
        both-mobile) cell both mobile "${SEEDS_MOBILE:-3}" "$each" --preset fast "${means[@]}" ;;
        *) cell "${each%-*}" "${each#*-}" 3 "$each" --preset fast "${means[@]}" ;;
        esac
    done
done
