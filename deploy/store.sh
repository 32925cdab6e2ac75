# Sourced by try.sh and try_compose.sh, which set $work. Makes a separate image store, and collects files that a build on
# this machine needs. The scripts empty the store when they end. So they must source this file before they set that trap:
# otherwise they would empty the user's store.

# A separate, empty image store. The driver vfs works on every file system. runc is used if it is installed, because crun
# does not support some machines' cgroups. The limit of open files is this shell's, because podman would ask for more.
printf '[storage]\ndriver="vfs"\ngraphroot="%s/store"\nrunroot="%s/run"\n' "$work" "$work" > "$work/storage.conf"
files=$(ulimit -Hn); [ "$files" = unlimited ] && files=1048576
{
  printf '[containers]\ndefault_ulimits=["nofile=%s:%s","nproc=4096:4096"]\n' "$files" "$files"
  printf '[engine]\nevents_logger="file"\ncgroup_manager="cgroupfs"\n'
  command -v runc >/dev/null && printf 'runtime="runc"\n'
} > "$work/containers.conf" || true
export CONTAINERS_STORAGE_CONF=$work/storage.conf CONTAINERS_CONF=$work/containers.conf

# How pip reaches its index is specific to this machine: these files are mounted during the build, and are not part of
# the image.
lent=()
for file in ${PIP_CONFIG_FILE:-/etc/pip.conf} /etc/ssl/certs/ca-certificates.crt; do
  [ -f "$file" ] && lent+=(--volume "$file:${file/#${PIP_CONFIG_FILE:-none}//etc/pip.conf}:ro")
done
