#!/bin/bash
# On a machine with one NVIDIA GPU, without a network: tests, benchmark, profile, loss curves, and a training, in this order,
# each with a time limit; what fails does not keep the rest from running. Run build.sh elsewhere first.
#
#     tests/peers/gpu/on_gpu.sh OUT [PART ...]        parts: tests benchmark profile curves train judge (unless told, all)
#
# OUT gets few files, none large: log.txt, benchmark.md, curves.svg, samples.png, results.toml, the parameters in parts of 15
# MB, and results.tar.gz with everything else; each as soon as it is there. What is needed on the way lies in target/gpu-work.
#
# Seconds, from the environment: TESTS (50), SANITIZER (30, twice), BENCHMARK (210), PROFILE (30, twice), CURVES (30, thrice),
# TRAIN (150), JUDGE (60). Where a command may take ten minutes at most: `tests benchmark profile`, then the rest.
# IGPT_DEVICE=cpu tries it out on a machine without a GPU, with tiny shapes and without what needs one; PYTHON names a Python
# that has PyTorch.
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
shift
parts=${*:-tests benchmark profile curves train judge}
cd "$here/../../.."
if [ target/gpu.tar.gz -nt target/gpu/commit ]; then
    tar --extract --gzip --file target/gpu.tar.gz --directory target
fi
gpu=$PWD/target/gpu
python=${PYTHON:-python3}
export IGPT_ROOT=$PWD PYTHONUNBUFFERED=1 RUST_BACKTRACE=1
export IGPT_DEVICE=${IGPT_DEVICE:-cuda}
work=$PWD/target/gpu-work/$IGPT_DEVICE
mkdir -p "$work/results"
cpu=
[ "$IGPT_DEVICE" = cpu ] && cpu=yes

exec > >(tee -a "$out/log.txt") 2>&1
began=$SECONDS
say() { echo "== $* (after $((SECONDS - began)) s)"; }

# Everything else, in one file: written again after each part.
keep() {
    tar --create --gzip --file "$work/results.tar.gz" --directory "$work" results &&
        cp "$work/results.tar.gz" "$out/results.tar.gz"
}
# limited SECONDS NAME COMMAND ...: its output into a file, the end of that onto the screen.
limited() {
    local seconds=$1 name=$2 at=$SECONDS
    shift 2
    timeout --kill-after=5 "$seconds" "$@" >"$work/results/$name.txt" 2>&1
    local code=$?
    tail -n "${LINES_SHOWN:-12}" "$work/results/$name.txt"
    say "$name: exit $code, $((SECONDS - at)) s"
    return "$code"
}
wanted() { case " $parts " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

# What this is.
device=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || echo "no GPU")
{
    echo "date = \"$(date -u +%Y-%m-%dT%H:%M:%SZ)\""
    echo "device = \"$device\""
    echo "commit = \"$(tr '\n' ' ' <"$gpu/commit" 2>/dev/null | sed 's/ $//')\""
    echo "processors = $(nproc)"
    echo "glibc = \"$(ldd --version 2>/dev/null | head -1)\""
} | tee "$work/results/about.toml"
nvidia-smi 2>/dev/null
# PyTorch's packages bring NVIDIA's libraries; NVRTC looks for a part of itself by the loader's path.
libraries=$("$python" - <<'PYTHON'
import glob, importlib.util, os
try:
    found = importlib.util.find_spec("torch")
    site = os.path.dirname(os.path.dirname(found.origin))
    patterns = ["libnvrtc.so*", "libcublasLt.so*"]
    files = [f for p in patterns for f in glob.glob(f"{site}/nvidia/*/lib/{p}") + glob.glob(f"{site}/torch/lib/{p}")]
    print(":".join(sorted({os.path.dirname(f) for f in files})))
except Exception as error:
    import sys
    print(f"PyTorch was not found: {error}", file=sys.stderr)
PYTHON
)
echo "libraries: $libraries"
if [ -z "$cpu" ] && [ -n "$libraries" ]; then
    export IGPT_CUDA_LIBRARIES=${IGPT_CUDA_LIBRARIES:-$libraries}
    export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
"$python" -c 'import torch; print("torch", torch.__version__, torch.version.cuda, torch.cuda.is_available())'

# What an earlier run left does not pass for this one's.
if wanted tests; then
    say tests
    if [ -n "$cpu" ]; then
        # Without a GPU: those that the emulator runs, a few, to see that the program starts.
        limited "${TESTS:-50}" tests "$gpu/unit_tests" engine::optimizer
        limited "${TESTS:-50}" tests_list "$gpu/unit_tests" --ignored --list engine::cuda::tests::on_a_gpu
    else
        limited "${TESTS:-50}" tests_list "$gpu/unit_tests" --ignored --list engine::cuda::tests::on_a_gpu
        limited "${TESTS:-50}" tests "$gpu/unit_tests" --ignored --nocapture --test-threads 1 engine::cuda::tests::on_a_gpu
        # Of other devices' toolkits it may lie beside CUDA.
        sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -1)
        if [ -n "$sanitizer" ]; then
            for tool in memcheck racecheck; do
                # shellcheck disable=SC2086
                limited "${SANITIZER:-30}" "$tool" "$sanitizer" --tool "$tool" --print-limit 20 "$gpu/unit_tests" \
                    --ignored --test-threads 1 ${SANITIZED:-engine::cuda::tests::on_a_gpu}
            done
        else
            say "compute-sanitizer is not there"
        fi
    fi
    keep
fi

if wanted benchmark; then
    say benchmark
    rm -f "$work/results/"benchmark.* "$out/benchmark.md"
    limit=${BENCHMARK:-210}
    if [ -n "$cpu" ]; then
        more=(--tiny --matmul 512 --rounds 3 --least 0.1) ours="$gpu/gpu_peer --cpu"
        torch="$python $here/gpu_torch.py --device cpu"
    else
        more=() ours=$gpu/gpu_peer torch="$python $here/gpu_torch.py"
    fi
    # A case that has begun may take a minute longer.
    limited $((limit + 60)) benchmark "$python" "$here/compare.py" --ours "$ours" --torch "$torch" \
        --out "$work/results" --seconds "$limit" --about "$device" "${more[@]}"
    cp "$work/results/benchmark.md" "$out/" 2>/dev/null && cat "$out/benchmark.md"
    keep
fi

if wanted profile; then
    say profile
    shape=24,512,8,1024,512 images=32 peer=("$gpu/gpu_peer")
    [ -n "$cpu" ] && shape=2,64,2,64,32 images=4 peer=("$gpu/gpu_peer" --cpu)
    for precision in bf16 tf32; do
        printf '%s\n' "start $precision $shape $images" "train 3" "train 5" "profile 1" memory stop |
            LINES_SHOWN=0 limited "${PROFILE:-30}" "profile-$precision" "${peer[@]}"
        # As a table: milliseconds, calls, name; the longest first.
        "$python" - "$work/results/profile-$precision.txt" <<'PYTHON' | tee "$work/results/profile-$precision.md"
import json, sys
for line in open(sys.argv[1]):
    try:
        answer = json.loads(line)
    except ValueError:
        print(line.rstrip())
        continue
    kernels = answer.pop("kernels", None)
    print(json.dumps(answer))
    if kernels:
        total = sum(seconds for *_, seconds in kernels)
        print(f"\n{1e3 * total:.1f} ms in kernels\n\n| ms | share | calls | kernel |\n|---|---|---|---|")
        for name, calls, seconds in kernels[:40]:
            print(f"| {1e3 * seconds:.3f} | {100 * seconds / total:.1f} % | {calls} | {name} |")
        print()
PYTHON
    done
    keep
fi

if wanted curves; then
    say curves
    rm -rf "$work/results/curves" "$work/results/curves.svg" "$out/curves.svg"
    mkdir -p "$work/results/curves"
    cp "$gpu/cpu-f32.csv" "$work/results/curves/" 2>/dev/null
    if [ -n "$cpu" ]; then
        limited "${CURVES:-30}" curve-again "$gpu/gpu_train" curve "$gpu/images.bin" f32 cpu-tiny \
            "$work/results/curves" layers=1 width=32 heads=1 steps=20 batch=2
    else
        for precision in f32 tf32 bf16; do
            LINES_SHOWN=3 limited "${CURVES:-30}" "curve-$precision" "$gpu/gpu_train" curve "$gpu/images.bin" \
                "$precision" "gpu-$precision" "$work/results/curves"
        done
    fi
    LINES_SHOWN=30 limited 20 curves "$gpu/gpu_train" figure "$work/results/curves.svg" "$work/results/curves"
    cp "$work/results/curves.svg" "$out/" 2>/dev/null
    keep
fi

# The training's results go to OUT piece by piece: first the parameters.
trained() {
    cp "$work/trained/"parameters-*.safetensors "$work/trained/samples.png" "$out/" 2>/dev/null
    [ -f "$work/trained/results.toml" ] &&
        cat "$work/results/about.toml" "$work/trained/results.toml" >"$out/results.toml"
    cp "$work/trained/"*.csv "$work/trained/"*.svg "$work/results/" 2>/dev/null
    keep
}
small=()
if [ -n "$cpu" ]; then
    small=(layers=2 width=32 heads=2 batch=2 warm_up=5 precision=f32 validation=16)
fi

if wanted train; then
    say train
    rm -rf "$work/trained" "$out/"parameters-*.safetensors "$out/samples.png" "$out/results.toml"
    # In two pieces, so that the second goes on from the first one's checkpoint. The plan is for both; the second has some
    # seconds more, for starting again, and for the end of the cosine in case the pace was better when it was measured.
    seconds=${TRAIN:-150} pieces=0
    # shellcheck disable=SC2086
    for piece in "$((seconds / 2))/$seconds" "$((seconds - seconds / 2 + 25))/$seconds"; do
        limited $((seconds / 2 + 60)) "train-$((++pieces))" "$gpu/gpu_train" train "$gpu/images.bin" \
            "$work/checkpoints" "$piece" "$work/trained" "${small[@]}" ${SETTINGS:-}
        trained
    done
    limited 40 sample "$gpu/gpu_train" sample "$gpu/images.bin" "$work/trained" 48
    trained
fi

if wanted judge; then
    say judge
    limited "${JUDGE:-60}" judge "$gpu/gpu_train" judge "$gpu/images.bin" "$work/trained" "${IMAGES:-5000}"
    trained
fi
say "everything"
ls -la "$out"
sleep 1 # for tee to write the end of the log
