#!/usr/bin/env bash
# `make run BACKEND=openstack`: the main job before your eyes, behind a real Cinder. It starts a lab of
# Keystone, Glance and Cinder on a Ceph cluster of one node (lab.sh) and a daemon, uploads an image to
# Glance, makes volumes from it with the ordinary `openstack volume create --image`, prints the report and
# the internal tenant's quota, and stays up until Ctrl-C. As root.
#
#   IMAGE=FILE      a qcow2 or raw file; default: one that is made from files of this machine
#   VOLUMES=N       how many volumes; default 4
#   RUN_DIR=DIR     the daemon's files; default: run/openstack in the checkout
#   LAB_DIR, LAB_PORT   the lab's; default /tmp/cclab-run and 7500. A lab that runs already is used, and stays
#   RUN_ONCE=1      end after the report
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
dir=${RUN_DIR:-$top/run/openstack}
export LAB_DIR=${LAB_DIR:-/tmp/cclab-run} LAB_PORT=${LAB_PORT:-7500}
lab=$here/lab.sh
clonecache=$top/bin/clonecache
socket=$LAB_DIR/clonecache.sock
export CLONECACHE_SERVER=unix://$socket
daemon= started=

bold= plain=
[ ! -t 1 ] || bold=$'\033[1m' plain=$'\033[0m'
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
die() { printf 'make run: %s\n' "$*" >&2; exit 1; }

main() {
  mkdir -p "$dir"
  exec 9>>"$dir/lock"
  flock -n 9 || die "an earlier 'make run BACKEND=openstack' still uses $dir"
  trap clean_up EXIT
  trap 'exit 130' INT TERM HUP
  start_lab
  start_daemon
  upload
  demonstrate
  [ -z "${RUN_ONCE:-}" ] || return 0
  wait_for_ctrl_c
}

# The hook is configured before Cinder starts; a lab that runs restarts its cinder-volume.
start_lab() {
  "$lab" status >/dev/null 2>&1 || started=1
  say "Starting Keystone, Glance, Cinder and Ceph in $LAB_DIR (about a minute; stopped at the end)"
  "$lab" hook "$socket" 9>&-
  "$lab" up 9>&-
  eval "$("$lab" env)"
}

write_config() {
  cat >"$dir/clonecache.toml" <<TOML
# Written by 'make run BACKEND=openstack'. Every key is explained in docs/configuration.md.
state_dir = "$dir/state"
listen = ["unix://$socket"]

[internal_tenant]
kind = "openstack"
cloud = "cinder-internal"
clouds_file = "$LAB_DIR/clouds.yaml"

[[image_source]]
name = "glance"
kind = "glance"
cloud = "cinder-internal"
clouds_file = "$LAB_DIR/clouds.yaml"

$(backend rbd1 volumes 10)

$(backend rbd2 volumes2 5)

[[file_cache]]
name = "files"
path = "$dir/files"
max_size = "10GiB"
TOML
}

backend() { # backend NAME POOL GIB
  cat <<TOML
[[backend]]
name = "$1"
kind = "rbd"
pool = "$2"
volume_type = "$1"
conf = "$CEPH_DIR/ceph.conf"
user = "clonecache"
keyring = "$CEPH_DIR/client.clonecache.keyring"
max_size = "$3GiB"
fallback = "files"
TOML
}

start_daemon() {
  write_config
  say "Starting the daemon: clonecache serve --config $dir/clonecache.toml (log: $dir/daemon.log)"
  setsid "$clonecache" serve --config "$dir/clonecache.toml" >"$dir/daemon.log" 2>&1 9>&- &
  daemon=$!
  for _ in $(seq 300); do
    ! "$clonecache" status >/dev/null 2>&1 || return 0
    kill -0 $daemon 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$dir/daemon.log" >&2
  die "the daemon did not get ready"
}

# An image of an earlier run is the same bytes again, and is found in the cache.
upload() {
  local file=${IMAGE:-} format
  mkdir -p "$dir/images"
  [ -n "$file" ] || file=$dir/images/$("$top/e2e/machine-image.sh" "$dir/images")
  [ -r "$file" ] || die "cannot read IMAGE=$file"
  format=$(qemu-img info "$file" | sed -n 's/^file format: //p')
  gib=$(($(qemu-img info --output json "$file" | sed -n 's/^ *"virtual-size": \([0-9]*\),*/\1/p' | head -1) / (1 << 30) + 1))
  image=demo-$(date +%H%M%S)
  say "openstack image create --file ${file##*/} --disk-format $format $image"
  openstack image create --file "$file" --disk-format "$format" --container-format bare "$image" -f value -c id
}

demonstrate() {
  local n
  for n in $(seq "${VOLUMES:-4}"); do
    say "openstack volume create --image $image --size $gib $image-$n"
    create "$image-$n"
  done
  say "openstack volume show $image-1"
  openstack volume show "$image-1" -c status -c bootable -c size -c type -c volume_image_metadata
  say "What is cached: clonecache entry list"
  "$clonecache" entry list
  say "The internal tenant's quota: clonecache quota"
  "$clonecache" quota
  say "The report: clonecache report"
  "$clonecache" report
}

create() {
  local begun=${EPOCHREALTIME/./} status=creating
  openstack volume create --image "$image" --size "$gib" "$1" -f value -c id
  until [ "$status" = available ]; do
    status=$(openstack volume show "$1" -f value -c status)
    [ "$status" != error ] || die "volume $1 went into error; see $LAB_DIR/log/cinder-volume.log"
  done
  printf 'available after %d ms, the openstack commands included; clonecache: ' $(((${EPOCHREALTIME/./} - begun) / 1000))
  sed -n 's/.*clonecache made .*: //p' "$LAB_DIR/log/cinder-volume.log" | tail -n 1
}

wait_for_ctrl_c() {
  say "Everything stays up until Ctrl-C. In another terminal:"
  cat <<TEXT
  eval "\$(LAB_DIR=$LAB_DIR LAB_PORT=$LAB_PORT $lab env)"      # OS_CLOUD=admin|demo|other|cinder-internal
  export CLONECACHE_SERVER=$CLONECACHE_SERVER
  openstack volume create --image $image --size $gib --type rbd2 mine
  OS_CLOUD=cinder-internal openstack volume list
  $clonecache entry list
  $clonecache report
  rbd -c $CEPH_CONF --id cinder ls -l volumes
TEXT
  wait $daemon || die "the daemon ended by itself: see $dir/daemon.log"
}

clean_up() {
  local status=$?
  trap - EXIT
  trap '' INT TERM HUP
  if [ -n "$daemon" ] && kill -0 $daemon 2>/dev/null; then
    say "Stopping the daemon"
    kill -TERM $daemon 2>/dev/null || true
    wait $daemon 2>/dev/null || true
  fi
  rm -f "$socket"
  if [ -n "$started" ]; then
    say "Stopping the lab (its volumes and images stay in $LAB_DIR; $lab wipe removes them)"
    "$lab" down 9>&- || true
  fi
  exit $status
}

main
