#!/usr/bin/env bash
# The whole story on made-up chest CTs: phantoms, a short fit, export, serve, predict, bench; then a vote on a made-up
# slide. `make demo` runs it.
set -euo pipefail
out=${1:-demo}
runs=(--run "$out/segment" --run "$out/nodule")
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { say "medseg $*"; medseg "$@"; }

rm -rf "$out"
run data phantom luna --out "$out/data" --patients 24 --seed 1
run data phantom luna --out "$out/unseen" --patients 1 --seed 2
say "Fit two networks, each on a core of its own. The first marks whatever could be a nodule: val_dice is what its marks
share with the nodules of patients that it has not seen, 0 to 1, and 0.8 is good. The second says of a mark whether it is a nodule:
val_f1 is 1 if it finds every nodule and nothing else. 0.5 is enough here: for each nodule it sees 16 places that are none,
most of them forks of vessels, and the first network marks few of those."
export OMP_NUM_THREADS=1  # threads that wait for each other on a busy machine take many times as long
run train luna-nodule "$out/data" --out "$out/nodule" --features 4 --optimizer adam --batch-size 8 --samples-per-epoch 384 --epochs 12 --lr 0.0015 --schedule cosine --workers 0 > "$out/nodule.txt" 2>&1 &
second=$!
trap 'kill "$second" 2>/dev/null; wait "$second" 2>/dev/null || true' EXIT
run train luna-segment "$out/data" --out "$out/segment" --loss focal-tversky --batch-size 8 --samples-per-epoch 200 --epochs 12 --lr 0.003 --schedule cosine --workers 0
failed=0
wait "$second" || failed=$?
cat "$out/nodule.txt"
[ "$failed" = 0 ] || exit "$failed"
trap - EXIT
unset OMP_NUM_THREADS
say "Export both. Each file is held against the fitted network: a Dice of 1 is the same mask to the voxel, and no file
below 0.999 is kept."
run export "$out/segment" "$out/nodule" --fp16 --calibration "$out/data"
ct=$(ls "$out"/unseen/subset0/*.mhd)

say "medseg serve luna ${runs[*]} &"
medseg serve luna "${runs[@]}" --http-port 18000 --grpc-port 18001 --metrics-port 18002 --log "$out/triton.log" > "$out/serve.txt" &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true' EXIT
until grep -q '^serving' "$out/serve.txt"; do
  kill -0 "$server" || exit 1
  sleep 0.5
done
cat "$out/serve.txt"
run predict luna "$ct" --url http://127.0.0.1:18000 --out "$out/answers"
kill "$server" && wait "$server"
trap - EXIT

say "What was found, beside where the phantom's nodules are"
python examples/demo/told.py "$out/answers/nodules.csv" "$out/unseen/annotations.csv"
run bench luna "$out/unseen" "${runs[@]}" --precision fp32 --precision fp16 --quick --out "$out/bench"
say "And STAS's vote: three rules of colour stand in for its trained networks. Each errs in a third of
the slide, and two outvote it"
python examples/demo/vote.py "$out/vote"
say "The nodules: $out/answers/nodules.png"
say "The report: $out/bench/report.html"
