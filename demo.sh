#!/usr/bin/env bash
# The whole story on made-up chest CTs: phantoms, a short fit, export, serve, predict, bench. `make demo` runs it.
set -euo pipefail
out=${1:-demo}
runs=(--run "$out/segment" --run "$out/nodule")
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { say "medseg $*"; medseg "$@"; }

rm -rf "$out"
run data phantom luna --out "$out/data" --patients 24 --seed 1
run data phantom luna --out "$out/unseen" --patients 1 --seed 2
run train luna-segment "$out/data" --out "$out/segment" --samples-per-epoch 200 --epochs 20 --lr 0.003
run train luna-nodule "$out/data" --out "$out/nodule" --features 4 --optimizer adam --batch-size 8 --samples-per-epoch 384 --epochs 20 --lr 0.0015 --schedule cosine
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

say "What was found, and where the phantom's nodules are"
cat "$out/answers/nodules.csv" "$out/unseen/annotations.csv"
run bench luna "$out/unseen" "${runs[@]}" --precision fp32 --precision fp16 --quick --out "$out/bench"
say "The nodules: $out/answers/nodules.png"
say "The report: $out/bench/report.html"
