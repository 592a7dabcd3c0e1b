#!/usr/bin/env bash
# Fills the cells of docs/benchmarks.md that need a GPU, in at most 8 minutes, and prints them as markdown.
#
#     NST_JAX_WEIGHTS=vgg19.h5 benchmarks/gpu.sh [FOLDER]      the folder: gpu_results
#     benchmarks/gpu.sh --dry-run [FOLDER]                     every command on a CPU, with tiny pictures
#
# Loss and gradient of 512, 1024 and 2048 pixels in tf32, bf16 and f32, against PyTorch in both layouts and by
# torch.compile, with the most memory that each had of the device; a batch of 16; a run of a few evaluations.
# What matters most comes first. A command that hangs is ended, and what there is no time for is left out and
# named: the same command again goes on with it. $PYTHON is the interpreter, which needs torch (extra `bench`).
set -euo pipefail

dry=${NST_JAX_GPU_DRY:-}
if [[ ${1:-} == --dry-run ]]; then
    dry=1
    shift
fi
folder=$(realpath -m "${1:-gpu_results}")
python=${PYTHON:-python}
cd "$(dirname "$0")/.."

seconds=470 sizes=(512 1024 2048) batch=16 batch_size=512 evaluations=60
step=(--rounds 2 --turn 0.3) device=auto weights=vgg19
if [[ $dry ]]; then
    export JAX_PLATFORMS=cpu
    sizes=(32 48 64) batch=2 batch_size=48 evaluations=3
    step=(--rounds 1 --turn 0) device=cpu weights=compact
fi

missing=$(DRY=$dry "$python" - <<'PYTHON'
import os
from importlib.util import find_spec
dry = os.environ["DRY"]
if not find_spec("torch"):
    print("PyTorch: pip install torch")
elif not find_spec("nst_jax"):
    print("nst_jax: pip install -e '.[cuda13]'")
elif not dry and not __import__("torch").cuda.is_available():
    print("a GPU that PyTorch sees")
elif not dry and __import__("jax").default_backend() != "gpu":
    print("a GPU that JAX sees: pip install -e '.[cuda13]'")
elif not dry and not os.path.exists(os.environ.get("NST_JAX_WEIGHTS", "")):
    print("VGG-19's weights: set NST_JAX_WEIGHTS to their file")
else:
    print()
PYTHON
)
if [[ $missing ]]; then
    echo "gpu.sh: missing: $missing" >&2
    exit 1
fi

mkdir -p "$folder"
tables=() left_out=()

# measure NAME LIMIT COMMAND...: run a command with --out, for at most so many seconds, unless it was before.
measure() {
    local name=$1 limit=$2 left=$((seconds - SECONDS)) begun=$SECONDS
    shift 2
    if ((left < limit)); then limit=$left; fi
    if [[ -s $folder/$name.json ]]; then
        tables+=("$folder/$name.json")
    elif ((limit > 10)) && timeout --kill-after=5 "$limit" "$python" "$@" --out "$folder/part.json" \
        >>"$folder/log.txt" 2>&1 </dev/null; then
        mv "$folder/part.json" "$folder/$name.json"
        tables+=("$folder/$name.json")
        echo "$name: $((SECONDS - begun)) s" >&2
    else
        left_out+=("$name")
        echo "$name: not done after $((SECONDS - begun)) s, see $folder/log.txt" >&2
    fi
}

# evaluation PRECISION WHAT [OPTION]: each size.
evaluation() {
    local size
    for size in "${sizes[@]}"; do
        measure "step_$1_$size" 110 benchmarks/speed.py --measure step --size "$size" --precision "$1" \
            --what "$2" --device "$device" --weights "$weights" "${step[@]}" "${@:3}"
    done
}

# On a GPU torch.compile takes part anyway.
evaluation tf32 forward,gradient ${dry:+--compiled}
measure "batch_$batch_size" 120 benchmarks/sweep_throughput.py batches --size "$batch_size" --cells "$batch" \
    --evaluations "$evaluations" --rounds 1
evaluation bf16 gradient
evaluation f32 gradient
measure "memory_${sizes[1]}" 150 benchmarks/speed.py --measure memory --size "${sizes[1]}" --precision tf32 --rounds 1 \
    --turn 0 --device "$device" --weights "$weights"

{
    for table in "${tables[@]}"; do [[ $table == */batch_* ]] || echo "$table"; done |
        xargs --no-run-if-empty -d '\n' "$python" benchmarks/speed.py --markdown
    echo
    if [[ -s $folder/batch_$batch_size.json ]]; then
        "$python" benchmarks/sweep_throughput.py batches --markdown "$folder/batch_$batch_size.json"
    fi
} | tee "$folder/tables.md"
if ((${#left_out[@]})); then
    echo "gpu.sh: left out: ${left_out[*]}; the same command again goes on with them" >&2
    exit 1
fi
