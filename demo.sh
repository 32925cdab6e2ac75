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
say "Train two networks, one per core. The first marks everything that could be a nodule. val_dice is the overlap of its
marks with the nodules of patients that it has not seen, from 0 to 1; 0.8 is good. The second decides for each mark whether it is a nodule.
val_f1 is 1 if it finds every nodule and nothing else. 0.5 is enough here: for each nodule it is tested on 16 other places,
most of them forks of vessels, and the first network marks few of those."
export OMP_NUM_THREADS=1  # on a busy machine, threads that wait for each other take many times as long
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
say "Export both. Each file is compared with the trained network: a Dice of 1 means that every voxel is the same, and a file
below 0.999 is refused."
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

say "The nodules that were found, compared with the phantom's true nodules"
python examples/demo/told.py "$out/answers/nodules.csv" "$out/unseen/annotations.csv"
run bench luna "$out/unseen" "${runs[@]}" --precision fp32 --precision fp16 --quick --out "$out/bench"
say "And the vote of STAS: three simple colour rules replace its trained networks. Each is wrong in a different third of
the slide, where the other two outvote it"
python examples/demo/vote.py "$out/vote"
say "The nodules: $out/answers/nodules.png"
say "The report: $out/bench/report.html"
