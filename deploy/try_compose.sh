#!/usr/bin/env bash
# Really starts deploy/compose.yaml, with docker-compose over podman, from an empty image store: server, front, Prometheus.
#   Checks that a picture is answered through the front only with TLS and the token, that a killed step is replaced, and
#   that Prometheus counts the answers.
#
#   deploy/try_compose.sh
#
# Needs root, podman, docker-compose, mmdebstrap, iptables, openssl, and a Python with medseg ($PYTHON, else python3).
# The images are replaced by images of the same name made from Debian's packages: nginx and Prometheus, and instead of
# NVIDIA's Triton image one with the wheel's server. deploy/Dockerfile builds on it as it would on NVIDIA's. Grafana is
# left out, because Debian does not have it.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} work=$(mktemp -d) tag=0.0 project=medsegtry$$
[ $# -eq 0 ] || { echo "usage: deploy/try_compose.sh" >&2; exit 2; }

say() { echo "try: $*"; }
compose() { (cd "$work/deploy" && TRITON_TAG=$tag COMPOSE_HTTP_TIMEOUT=600 DOCKER_HOST=unix://$work/podman docker-compose --profile cpu --project-name "$project" "$@"); }
fail() { echo "try: $*" >&2; podman logs "${project}_triton-cpu_1" 2>&1 | tail -20 >&2; exit 1; }
clean() { compose down >/dev/null 2>&1 || true; [ -z "${service:-}" ] || kill "$service"; podman system reset --force >/dev/null 2>&1 || true; rm -rf "$work"; }
source deploy/store.sh
trap clean EXIT
printf 'unqualified-search-registries=["docker.io"]\n' > "$work/registries.conf"
export CONTAINERS_REGISTRIES_CONF=$work/registries.conf

# Stand-ins for other projects' images. What such an image does when it starts is done here with the same commands.
mmdebstrap --quiet --variant=minbase --include=ca-certificates,curl,gettext-base,libpython3.11,nginx-light,prometheus,python3,python3-pip \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' bookworm "$work/base.tar"
podman import --quiet "$work/base.tar" medseg-try-base >/dev/null; rm "$work/base.tar"
mkdir -p "$work/front" "$work/triton"
cat > "$work/front/start" <<'END'
#!/bin/sh
set -e
for one in /etc/nginx/templates/*.template; do
  envsubst "$(env | sed -n 's/^\([A-Z_]*\)=.*/${\1}/p' | tr '\n' ' ')" < "$one" > "/etc/nginx/conf.d/$(basename "$one" .template)"
done
exec nginx -c /etc/nginx/unprivileged.conf
END
cat > "$work/front/unprivileged.conf" <<'END'
daemon off; pid /tmp/nginx.pid; error_log stderr; events {}
http {
  access_log off; client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi; include /etc/nginx/conf.d/*.conf;
}
END
chmod 755 "$work/front/start"
made() { podman build --quiet --layers=false --format docker --tag "$1" --file - "$2" > "$work/build.log" 2>&1 || { cat "$work/build.log" >&2; fail "$1 was not built"; }; }
image() { sed -n "s/^ *image: \($1:.*\)/\1/p" deploy/compose.yaml; }
made "docker.io/$(image nginxinc.*)" "$work/front" <<'END'
FROM localhost/medseg-try-base
COPY start unprivileged.conf /etc/nginx/
RUN chown 101:0 /etc/nginx/conf.d
ENTRYPOINT ["/etc/nginx/start"]
END
made "docker.io/$(image prom.*)" "$work/front" <<'END'
FROM localhost/medseg-try-base
USER 65534:65534
ENTRYPOINT ["prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/tmp/prometheus"]
END
server=$("$python" -c 'from medseg.triton_models.wheel import wheel; print(wheel())')
cp -r "$server" "$work/triton/tritonserver"
cp "$server/python_backend_stubs/3.11/triton_python_backend_stub" "$work/triton/tritonserver/backends/python/"
cp -r "$server/../../nvidia_pytriton.libs" "$work/triton/libraries"
made "nvcr.io/nvidia/tritonserver:$tag-py3" "$work/triton" <<'END'
FROM localhost/medseg-try-base
COPY tritonserver /opt/tritonserver
COPY libraries /opt/libraries
ENV PATH=/opt/tritonserver/bin:/usr/local/bin:/usr/bin:/bin LD_LIBRARY_PATH=/opt/libraries
END
podman build --quiet --layers=false --format docker --network host "${lent[@]}" --file deploy/Dockerfile --build-arg "TRITON_TAG=$tag" \
  --build-arg "EXTRAS=--extra onnxruntime" --tag "medseg-triton-cpu:$tag" . > "$work/build.log" 2>&1 ||
  { tail -20 "$work/build.log" >&2; fail "the image was not built"; }
say "the Dockerfile's image is built on a stand-in for NVIDIA's"

# What compose mounts: the repository, and the front's secrets. The network's file is in the repository here, because the
# stand-in has no native backends.
cp -r deploy "$work/deploy"; mkdir -p "$work/deploy/secrets"
"$python" - "$work/deploy/models" "$work/picture.png" <<'END'
import sys
from pathlib import Path
import numpy as np
from PIL import Image
from medseg.api.serve import Repository, write_repository
from medseg.tasks import task_named
from tests.bench.runs import bright_run
models, picture = map(Path, sys.argv[1:])
task = task_named("gi-tract")
run = bright_run(models / "run", task.networks[0])
write_repository(models, task, [run], Repository("embedded", "onnxruntime", "fp32", "reference", 1))
config = models / "gi-tract-network/config.pbtxt"
config.write_text(config.read_text().replace(str(models.resolve()), "/models"))
Image.fromarray(np.linspace(0, 60000, 90 * 80).astype(np.uint16).reshape(90, 80)).save(picture)
END
secrets=$work/deploy/secrets token=$(openssl rand -hex 32)
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=medseg -addext subjectAltName=IP:127.0.0.1 \
  -keyout "$secrets/tls.key" -out "$secrets/tls.crt" 2>/dev/null
echo "\"$token\" 1;" > "$secrets/tokens.map"; echo "$token" > "$work/token"
chmod -R a+rX "$work"

podman system service --time 0 "unix://$work/podman" > "$work/service.log" 2>&1 & service=$!
for _ in $(seq 60); do [ -S "$work/podman" ] && break; sleep 0.5; done
compose up --detach --no-build triton-cpu front prometheus > "$work/up.log" 2>&1 || { cat "$work/up.log" >&2; fail "compose did not start"; }
triton=${project}_triton-cpu_1
wait_for() { for _ in $(seq 240); do eval "$2" >/dev/null 2>&1 && return; sleep 0.5; done; fail "not within two minutes: $1"; }
wait_for "the server watches its processes" 'podman logs "$triton" 2>&1 | grep -q "Python processes are watched"'
export MEDSEG_TLS_CA=$secrets/tls.crt
ask() { "$python" -m medseg predict gi-tract "$work/picture.png" --url grpcs://127.0.0.1:8443 --out "$work/$1" >"$work/ask.log" 2>&1; }
ask without && fail "a client without the token got an answer"
export MEDSEG_TOKEN_FILE=$work/token
wait_for "an answer through the front" 'ask first'
say "a picture is answered through the front: $(find "$work/first" -type f -printf '%f ')"

podman exec "$triton" python3 -c '
import os, pathlib, signal
for found in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    words = found.read_bytes().split(b"\0")
    if words[0].endswith(b"triton_python_backend_stub") and b"/gi-tract-answer-step/" in words[1]:
        os.kill(int(found.parent.name), signal.SIGKILL)'
wait_for "a killed step is back" 'podman logs "$triton" 2>&1 | grep -q "gi-tract-answer-step is back after"'
ask again && diff -r "$work/first" "$work/again" >/dev/null || fail "the answer changed after a kill"
say "a killed step is back after $(podman logs "$triton" 2>&1 | sed -n 's/.*answer-step is back after \([0-9.]*\) s.*/\1/p') s"

asked='import json, sys, urllib.parse as parse, urllib.request as web
url = "http://127.0.0.1:9090/api/v1/query?" + parse.urlencode({"query": sys.argv[1]})
found = json.load(web.urlopen(url))["data"]["result"]
raise SystemExit(not any(float(one["value"][1]) > 0 for one in found))'
wait_for "Prometheus counts the answers" "podman exec ${project}_prometheus_1 python3 -c '$asked' 'nv_inference_request_success{model=\"gi-tract\"}'"
say "Prometheus counts the answers"

podman stop --time 40 "$triton" >/dev/null
code=$(podman inspect --format '{{.State.ExitCode}}' "$triton")
[ "$code" = 0 ] || fail "the stopped server ended with code $code"
say "stopped, with code 0"
