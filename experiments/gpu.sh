#!/usr/bin/env bash
# One chunk of the next experiment, for a machine with a GPU that is lent by the minute.
#
#   experiments/gpu.sh [OPTIONS] OUT [RUN]
#
# trains the first row of experiments/README.md that can be run and has no figures, or goes on with
# RUN, what the chunk before left. It ends by itself, and what is worth keeping is then in OUT/NAME:
# run.json, metrics.jsonl, model/ and the newest checkpoint, in parts if above 15 MiB.
#
#   --preset NAME  train this one instead
#   --minutes N    stop training so long after this script was started (9)
#   --check        first the tests of what runs on a GPU alone and its benchmark, into OUT
#   --wheels DIR   packages that this machine's Python lacks, as wheels; or EXTRA_SITE=DIR, installed
#   --rehearse     a tiny network on the CPU
#
# PYTHON names the interpreter (python3). The package itself need not be installed.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
name='' minutes=9 check='' wheels='' device=auto part=$((15 * 1024 * 1024)) tiny=()

while [[ ${1:-} == --* ]]; do
    case $1 in
        --preset) name=$2; shift ;;
        --minutes) minutes=$2; shift ;;
        --check) check=yes ;;
        --wheels) wheels=$2; shift ;;
        --rehearse)
            device=cpu part=60000
            tiny=(--data digits5k --steps 6 --batch-size 4 --eval-every 2 --eval-images 8
                  --checkpoint-every 2 --model.glimpses 3 --model.hidden-size 16
                  --image-size 28) ;;
        *) echo "gpu.sh: unknown option $1" >&2; exit 2 ;;
    esac
    shift
done
out=${1:?usage: experiments/gpu.sh [OPTIONS] OUT [RUN]} before=${2:-}
mkdir -p "$out"

if [[ $wheels ]]; then
    EXTRA_SITE=$(mktemp -d)
    "$python" -m pip install --quiet --no-index --no-deps --target "$EXTRA_SITE" "$wheels"/*.whl
fi
export PYTHONPATH=$root/src${EXTRA_SITE:+:$EXTRA_SITE}${PYTHONPATH:+:$PYTHONPATH}

# What fails here is told in check.log and does not keep the machine from training.
if [[ $check ]]; then
    kept=$(cd "$out" && pwd)
    (
        cd "$root"
        timeout 200 "$python" benchmarks/bench.py --quick --device "${device/auto/cuda}" || true
        [[ $device == cpu ]] || cp benchmarks/results-cuda.json "$kept" || true
        # Each test waits for its kernels to be compiled.
        parallel=$("$python" -c 'import xdist; print("-n auto --maxprocesses 14")' 2>/dev/null) || true
        timeout 300 "$python" -m pytest $parallel -o addopts=-q -o filterwarnings=default \
            tests/kernels/gpu/test_recurrence.py tests/test_graph.py tests/test_device_training.py ||
            echo "the tests failed, or took too long: status $?"
    ) 2>&1 | tee "$out/check.log"
fi

# Leave nothing in a run folder but what the next chunk needs.
tidy() {
    rm -rf "$run"/samples "$run"/*.png "$run"/*.gif
    local newest=("$run"/checkpoints/*.safetensors)
    newest=${newest[-1]}
    [[ -e $newest ]] || return 0
    find "$run"/checkpoints -type f ! -path "$newest" -delete
    if [[ $(stat --format=%s "$newest") -gt $part ]]; then
        split --numeric-suffixes --suffix-length=2 --bytes="$part" "$newest" "$newest.part"
        rm "$newest"
    fi
}

if [[ $before ]]; then
    name=$(basename "$before")
    run=$out/$name
    if [[ ! $before -ef $run ]]; then
        [[ ! -e $run ]] || { echo "gpu.sh: $run is there already" >&2; exit 2; }
        cp --recursive --no-preserve=mode "$before" "$run"
    fi
    for first in "$run"/checkpoints/*.part00; do
        [[ -e $first ]] || continue
        cat "${first%00}"?? > "${first%.part00}"
        rm "${first%00}"??
    done
    train=(--resume)
else
    name=${name:-$("$python" "$root/experiments/pages.py" next)}
    run=$out/$name
    train=("$name" "${tiny[@]}")
    if [[ ${tiny[*]} && $name != cluttered-* ]]; then  # the embedded digits are grey, and binarised
        train+=(--model.channels 1 --model.likelihood bernoulli)
    fi
fi
trap tidy EXIT
left=$(awk "BEGIN { left = $minutes - $SECONDS / 60; print (left > 0 ? left : 1e-6) }")
"$python" -m draw train "${train[@]}" --out "$run" --device "$device" --max-minutes "$left"

if [[ -e $run/curves.png ]]; then  # what a training leaves last
    echo "finished; publish it with: python experiments/publish.py $name --run $run --hardware '...'"
else
    echo "to be continued with: experiments/gpu.sh ANOTHER_OUT $run"
fi
