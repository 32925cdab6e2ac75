#!/usr/bin/env bash
# Builds the image `embedded` with podman, from an empty image store, runs it with few rights, and checks that it
#   answers a CT from outside over gRPC with TLS and a token, as an ordinary user, with a read-only root;
#   replaces a killed step soon; finishes a running answer when it is stopped; stays within its memory limit.
#
#   deploy/try.sh RUN...          LUNA's exported runs; the CT is made up unless CT=FILE names one
#
# Needs podman, openssl, and medseg outside the container ($MEDSEG, else the one on the PATH). If the base image cannot
# be pulled, mmdebstrap makes an image of that name from Debian's packages (as root). $BACK_S: how many seconds a killed
# step may be missing.
set -euo pipefail
cd "$(dirname "$0")/.."
medseg=${MEDSEG:-medseg} runs=("$@") work=$(mktemp -d) name=medseg-try-$$
base=docker.io/library/python:3.11-slim-bookworm most_mb=1500 memory=${MEMORY:-3g} port=${PORT:-18643}
[ ${#runs[@]} -gt 0 ] || { echo "usage: deploy/try.sh RUN...: LUNA's exported runs" >&2; exit 2; }

say() { echo "try: $*"; }
fail() { echo "try: $*" >&2; podman logs "$name" 2>/dev/null | tail -20 >&2; exit 1; }
clean() { podman rm --force --time 0 "$name" >/dev/null 2>&1 || true; podman system reset --force >/dev/null 2>&1 || true; rm -rf "$work"; }

source deploy/store.sh
trap clean EXIT

if ! timeout 20 podman pull --quiet "$base" >/dev/null 2>&1; then
  say "$base cannot be pulled; made out of Debian's packages"
  mmdebstrap --quiet --variant=minbase --include=ca-certificates,libpython3.11,python3,python3-venv \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' bookworm "$work/base.tar"
  podman import --quiet "$work/base.tar" "$base" >/dev/null
fi

podman build --quiet --layers=false --format docker --network host "${lent[@]}" --file deploy/Dockerfile --target embedded --tag medseg-try . \
  > "$work/build.log" 2>&1 || { tail -20 "$work/build.log" >&2; fail "the image was not built"; }
size=$(($(podman image inspect --format '{{.Size}}' medseg-try) / 1000000))
[ "$size" -lt "$most_mb" ] || fail "the image has $size MB; expected less than $most_mb"
say "the image has $size MB"

# The client's token, and the server's certificate.
secrets=$work/secrets; mkdir "$secrets"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=medseg -addext subjectAltName=IP:127.0.0.1 \
  -keyout "$secrets/tls.key" -out "$secrets/tls.crt" 2>/dev/null
openssl rand -hex 32 > "$secrets/token"
chmod 755 "$work" "$secrets"; chmod 644 "$secrets"/*  # the image runs as its own user, who must be able to read them
volumes=() asked=()
for run in "${runs[@]}"; do
  inside=/runs/$(basename "$run"); volumes+=(--volume "$(realpath "$run"):$inside:ro"); asked+=(--run "$inside")
done
ct=${CT:-}
if [ -z "$ct" ]; then
  "$medseg" data phantom luna --out "$work/data" --patients 1 >/dev/null
  ct=$(find "$work/data" -name '*.mhd' | head -1)
fi

podman run --detach --name "$name" --read-only --cap-drop all --security-opt no-new-privileges --memory "$memory" --memory-swap "$memory" \
  --shm-size 1g --network slirp4netns --publish "127.0.0.1:$port:8001" --volume "$secrets:/secrets:ro" "${volumes[@]}" medseg-try \
  luna "${asked[@]}" --host 0.0.0.0 --tls-cert /secrets/tls.crt --tls-key /secrets/tls.key --token-file /secrets/token \
  --log /tmp/triton.log >/dev/null
inside() { podman exec "$name" python3 -c "$1"; }
for _ in $(seq 120); do podman healthcheck run "$name" >/dev/null 2>&1 && break; sleep 1; done
podman healthcheck run "$name" >/dev/null || fail "the container did not get healthy"
inside '
import os
assert os.getuid() == 1000
try: open("/opt/medseg/written", "w")
except OSError as error: print("try: healthy, as user", os.getuid(), "on a root that says:", error.strerror)
else: raise SystemExit("the root can be written")'

export MEDSEG_TOKEN_FILE=$secrets/token MEDSEG_TLS_CA=$secrets/tls.crt
ask() { "$medseg" predict luna "$ct" --url "grpcs://127.0.0.1:$port" --out "$work/$1" >/dev/null; }
ask first || fail "the CT got no answer"
say "a CT is answered: $(find "$work/first" -type f -printf '%f ')"
MEDSEG_TOKEN_FILE='' ask without 2>/dev/null && fail "a client without the token got an answer"

inside '
import os, pathlib, signal
for found in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    words = found.read_bytes().split(b"\0")
    if words[0].endswith(b"triton_python_backend_stub") and b"/luna-report-step/" in words[1]:
        os.kill(int(found.parent.name), signal.SIGKILL)'
for _ in $(seq 60); do podman logs "$name" 2>&1 | grep -q 'luna-report-step is back after' && break; sleep 1; done
away=$(podman logs "$name" 2>&1 | sed -n 's/.*luna-report-step is back after \([0-9.]*\) s.*/\1/p')
[ -n "$away" ] || fail "a killed step did not come back"
awk "BEGIN { exit !($away <= ${BACK_S:-10}) }" || fail "a killed step was away for $away s"
ask again && diff -q <(cd "$work/first" && cat ./*.csv) <(cd "$work/again" && cat ./*.csv) || fail "the answer changed after a kill"
say "a killed step is back after $away s, and the answer is the same"

used=$(inside 'import pathlib
found = [pathlib.Path("/sys/fs/cgroup", name) for name in ("memory/memory.max_usage_in_bytes", "memory.peak")]
print(next((int(one.read_text()) >> 20 for one in found if one.is_file()), "unknown"))')
say "it took at most $used MiB of $memory"

ask last & client=$!
for _ in $(seq 600); do  # until its request has reached the server
  inside 'import re, urllib.request as web
text = web.urlopen("http://127.0.0.1:8002/metrics", timeout=4).read().decode()
raise SystemExit(not any(float(n) for n in re.findall(r"^nv_inference_pending_request_count{.*} (.*)$", text, re.M)))' 2>/dev/null && break
  kill -0 "$client" 2>/dev/null || break
done
podman stop --time 300 "$name" >/dev/null
wait "$client" || fail "a request that was there when the container was stopped got no answer"
code=$(podman inspect --format '{{.State.ExitCode}}' "$name")
[ "$code" = 0 ] || fail "the stopped container ended with code $code"
[ "$(podman inspect --format '{{.State.OOMKilled}}' "$name")" = false ] || fail "it ran out of memory"
say "stopped: what was asked before is answered, and it ended with code 0"
