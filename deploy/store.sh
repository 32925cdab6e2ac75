# Sourced by try.sh and try_compose.sh, which set $work: an image store of its own, and what a build here is lent.
# They empty the store when they end, so it must be theirs before that is arranged: else it is the user's.

# An image store of its own, which holds nothing yet; vfs runs wherever files do. runc, where crun does not know the
# machine's cgroups; no more open files than this shell may have, for podman asks for more.
printf '[storage]\ndriver="vfs"\ngraphroot="%s/store"\nrunroot="%s/run"\n' "$work" "$work" > "$work/storage.conf"
files=$(ulimit -Hn); [ "$files" = unlimited ] && files=1048576
{
  printf '[containers]\ndefault_ulimits=["nofile=%s:%s","nproc=4096:4096"]\n' "$files" "$files"
  printf '[engine]\nevents_logger="file"\ncgroup_manager="cgroupfs"\n'
  command -v runc >/dev/null && printf 'runtime="runc"\n'
} > "$work/containers.conf" || true
export CONTAINERS_STORAGE_CONF=$work/storage.conf CONTAINERS_CONF=$work/containers.conf

# How pip reaches its index is this machine's business: lent to the build, and no part of the image.
lent=()
for file in ${PIP_CONFIG_FILE:-/etc/pip.conf} /etc/ssl/certs/ca-certificates.crt; do
  [ -f "$file" ] && lent+=(--volume "$file:${file/#${PIP_CONFIG_FILE:-none}//etc/pip.conf}:ro")
done
