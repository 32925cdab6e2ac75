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
say "Fit the first network: it marks whatever could be a nodule. val_dice is what its marks share with the nodules of
patients it has not seen, 0 to 1: 0.3 is enough here, for the second network sorts out what is none."
run train luna-segment "$out/data" --out "$out/segment" --samples-per-epoch 200 --epochs 20 --lr 0.003
say "Fit the second network: is a mark a nodule? val_f1 is 1 where every nodule is told and nothing else, on patients
it has not seen: 0.8 or more is good."
run train luna-nodule "$out/data" --out "$out/nodule" --features 4 --optimizer adam --batch-size 8 --samples-per-epoch 384 --epochs 20 --lr 0.0015 --schedule cosine
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
