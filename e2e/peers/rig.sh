# Part of the scripts below this folder: a lab of OpenStack (e2e/openstack/lab.sh) with a daemon behind its
# Cinder. A script sets $suite, the name of its folder in the lab's directory, and calls `begin`; where it has a function
# `more_config`, what that prints is added to the daemon's configuration. At its end, however it ends, the daemon and what
# it gave to `at_the_end` are stopped, and the lab is removed. A lab that runs already is used, and stays.
#
#   LAB_DIR=DIR LAB_PORT=N   which lab; default /tmp/cclab-peers at 32300
#   KEEP_LOGS=DIR            where logs and results are copied at the end
export LAB_DIR=${LAB_DIR:-/tmp/cclab-peers} LAB_PORT=${LAB_PORT:-32300}
export PATH="/usr/bin:/bin:/usr/sbin:/sbin" LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1

peers=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$peers/../.." && pwd)
lab=$top/e2e/openstack/lab.sh
clonecache=$top/bin/clonecache
work=$LAB_DIR/$suite
socket=$LAB_DIR/$suite.sock
export CLONECACHE_SERVER=unix://$socket
daemon='' ours='' ends=()

say() { printf '%s  %s\n' "$(date -u +%T)" "$*" >&2; }
die() { printf '%s: %s\n' "$suite" "$*" >&2; exit 1; }

# needs PROGRAM... ends the script where one is not installed.
needs() {
  local program missing=()
  [ "$(id -u)" = 0 ] || die "needs root, for the lab"
  for program in "$@"; do command -v "$program" >/dev/null || missing+=("$program"); done
  [ ${#missing[@]} = 0 ] || die "not installed: ${missing[*]}. Run e2e/install.sh $suite as root."
  [ -x "$clonecache" ] || die "$clonecache is not built; run make build"
}

# begin [SOCKET] starts the lab, with the drivers that Cinder comes with, or with ours.
begin() {
  exec 9>"$LAB_DIR.suite"
  flock -n 9 || die "another suite works on $LAB_DIR"
  trap end EXIT
  trap 'exit 130' INT TERM HUP
  "$lab" status >/dev/null 2>&1 || ours=1
  say "starting Keystone, Glance, Cinder and Ceph in $LAB_DIR"
  rm -rf "$work"
  mkdir -p "$work/tmp"
  "$lab" hook "${1:-off}" 9>&-
  "$lab" up 9>&-
  eval "$("$lab" env)"
  export TMPDIR=$work/tmp
}

# at_the_end FUNCTION: the last one given is called first. Each may fail, and finds the lab running.
at_the_end() { ends=("$1" "${ends[@]}"); }

end() {
  local status=$? one
  trap - EXIT
  trap '' INT TERM HUP
  for one in "${ends[@]}"; do "$one" || say "$one failed"; done
  stop_daemon
  [ -z "${KEEP_LOGS:-}" ] || keep_logs || status=1
  if [ -n "$ours" ]; then
    say "removing the lab"
    "$lab" wipe 9>&- || status=1
    rm -f "$LAB_DIR.suite"
  else
    "$lab" hook off 9>&- || status=1
    rm -rf "$work"
  fi
  exit $status
}

keep_logs() {
  mkdir -p "$KEEP_LOGS" && cp "$LAB_DIR"/log/*.log "$KEEP_LOGS/" &&
    find "$work" -maxdepth 1 -type f -size -64M -exec cp {} "$KEEP_LOGS/" \;
}

# theirs [SETTING=VALUE...] puts Cinder's own drivers in place, with settings of lab.sh. cinder-volume starts anew.
theirs() {
  stop_daemon
  env "$@" "$lab" hook off 9>&-
}

# our_turn [SETTING=VALUE...] starts a daemon that nothing is cached by, and puts our drivers in place.
our_turn() {
  start_daemon
  env "$@" "$lab" hook "$socket" 9>&-
}

# The suites come one after another on the lab's pools and shares, which are held by one installation.
start_daemon() {
  local n
  mkdir -p "$work/state"
  echo 5f0c3a86-2d4e-4b1f-8a57-6f1d0b9c7e34 >"$work/state/catalog-id"
  write_config >"$work/clonecache.toml"
  setsid "$clonecache" serve --config "$work/clonecache.toml" >"$work/daemon.log" 2>&1 </dev/null 9>&- &
  daemon=$!
  for n in $(seq 1800); do
    ! "$clonecache" status >/dev/null 2>&1 || return 0
    kill -0 $daemon 2>/dev/null || break
    sleep 0.1
  done
  die "the daemon did not get ready: $(tail -n 20 "$work/daemon.log")"
}

# A daemon whose cluster has died may wait for it long.
stop_daemon() {
  local n
  [ -n "$daemon" ] || return 0
  kill -TERM "$daemon" 2>/dev/null || true
  for n in $(seq 600); do
    kill -0 "$daemon" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$daemon" 2>/dev/null && say "the daemon did not end by itself within a minute"
  wait "$daemon" 2>/dev/null || true
  daemon=
}

write_config() {
  local account="cloud = \"cinder-internal\"
clouds_file = \"$LAB_DIR/clouds.yaml\""
  cat <<TOML
state_dir = "$work/state"
listen = ["unix://$socket"]

[internal_tenant]
kind = "openstack"
$account

[[image_source]]
name = "glance"
kind = "glance"
$account

[[file_cache]]
name = "files"
path = "$work/files"
max_size = "4GiB"

$(pool rbd1 volumes)
$(pool rbd2 volumes2)
$(share nfs1)
$(share nfs2)
TOML
  ! declare -F more_config >/dev/null || more_config
}

pool() { # pool BACKEND POOL
  cat <<TOML
[[backend]]
name = "$1"
kind = "rbd"
pool = "$2"
volume_type = "$1"
conf = "$CEPH_DIR/ceph.conf"
user = "clonecache"
keyring = "$CEPH_DIR/client.clonecache.keyring"
fallback = "files"
TOML
}

share() { # share BACKEND; Cinder mounts it under the MD5 of its name
  cat <<TOML
[[backend]]
name = "$1"
kind = "file"
path = "$LAB_DIR/nfs/mnt/$(printf '127.0.0.1:/%s' "$1" | md5sum | cut -d' ' -f1)"
fallback = "files"
TOML
}

# disk FILE MIB DATA_MIB makes a raw disk, of which so much is random and the rest a hole.
disk() {
  truncate -s "${2}M" "$1"
  dd if=/dev/urandom of="$1" bs=1M count="$3" conv=notrunc status=none
}

# image NAME FILE FORMAT [OPTION...] uploads an image that every project sees, and prints its ID.
image() {
  OS_CLOUD=admin openstack image create "$1" --file "$2" --disk-format "$3" --container-format bare --public "${@:4}" -f value -c id
}

# left_over says what of the cache is left once all entries are deleted, and fails if there is something.
left_over() {
  local pool left='' in_pool
  "$clonecache" entry delete --all --force >/dev/null || left="entries could not be deleted. "
  for pool in volumes volumes2; do
    in_pool=$(rbd -c "$CEPH_CONF" --id cinder ls "$pool"; rbd -c "$CEPH_CONF" --id cinder trash ls "$pool")
    [ -z "$in_pool" ] || left+="in the pool $pool: $in_pool. "
  done
  "$clonecache" check >"$work/check.log" || left+="clonecache check: $(cat "$work/check.log")"
  [ -z "$left" ] || { printf 'left over: %s\n' "$left" >&2; return 1; }
}
