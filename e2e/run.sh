#!/usr/bin/env bash
# `make run`: the main job before your eyes, in one directory. It starts a daemon with the embedded
# default (SQLite, a unix socket, a directory as backend), makes one volume from an image (a fill) and
# ten more (clones, or copies where the filesystem has no reflinks), prints the report, and stays up
# until Ctrl-C.
#
#   BACKEND=rbd     volumes in a Ceph cluster of one node that is started for it; default: a directory
#   IMAGE=FILE|URL  the image; default: one that is made from files of this machine
#   RUN_DIR=DIR     where everything lies; default: run/ in the checkout
#   RUN_ONCE=1      end after the report
set -euo pipefail
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

top=$(cd "$(dirname "$0")/.." && pwd)
dir=${RUN_DIR:-$top/run}
image=${IMAGE:-}
clonecache=$top/bin/clonecache
daemon=
mounted=
ceph=

bold= plain=
[ ! -t 1 ] || bold=$'\033[1m' plain=$'\033[0m'
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
die() { printf 'make run: %s\n' "$*" >&2; exit 1; }

main() {
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  be_the_only_one
  trap clean_up EXIT
  trap 'exit 130' INT TERM HUP
  choose_socket
  "$top/e2e/install.sh"
  case ${BACKEND:-file} in
    file) mount_volumes ;;
    rbd) start_ceph ;;
    *) die "BACKEND=$BACKEND: use file or rbd" ;;
  esac
  choose_image
  write_config
  start_daemon
  demonstrate
  [ -z "${RUN_ONCE:-}" ] || return 0
  wait_for_ctrl_c
}

# What an earlier run left is taken over, unless that run is still alive: the lock is held by this
# script and by its daemon, and the kernel drops it with the last of them.
be_the_only_one() {
  exec 9>>"$dir/lock"
  flock -n 9 || die "an earlier 'make run' still uses $dir. Stop it first: kill $(alive "$dir/run.pid" || alive "$dir/daemon.pid")"
  echo $$ >"$dir/run.pid"
}

alive() { [ -e "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null && cat "$1"; }

# The daemon takes a socket's path of at most 103 bytes (api.LongestSocket).
choose_socket() {
  local LC_ALL=C # lengths in bytes
  socket=$dir/clonecache.sock
  if [ ${#socket} -gt 103 ]; then
    socket=${XDG_RUNTIME_DIR:-/tmp}/clonecache-run-$(printf %s "$dir" | cksum | cut -d' ' -f1).sock
    [ ${#socket} -le 103 ] || die "the path of the socket may have 103 bytes, $socket has ${#socket}: set RUN_DIR or XDG_RUNTIME_DIR to a shorter one"
    echo "The path $dir/clonecache.sock has more than the 103 bytes of a unix socket's; the socket is $socket."
  fi
  export CLONECACHE_SERVER=unix://$socket
}

# Where the filesystem has no reflinks and we are root, the volumes go to an XFS in a sparse file.
mount_volumes() {
  mkdir -p "$dir/volumes"
  ! mountpoint -q "$dir/volumes" || { mounted=1; return 0; } # left by a run that was killed
  if has_reflinks "$dir/volumes"; then
    say "Volumes are clones: $(df --output=fstype "$dir" | tail -1) has reflinks."
    return 0
  fi
  if [ "$(id -u)" = 0 ] && command -v mkfs.xfs >/dev/null && mount_xfs; then
    mounted=1
    say "$(df --output=fstype "$dir" | tail -1) has no reflinks: volumes lie on an XFS in the sparse file $dir/volumes.xfs (unmounted at the end)."
    return 0
  fi
  say "$(df --output=fstype "$dir" | tail -1) has no reflinks, and only root can mount an XFS file here: volumes are copied from the file cache."
}

# The cluster lies in a directory of its own; its unix sockets need a short path.
start_ceph() {
  export CEPH_DIR=$dir/ceph
  [ ${#CEPH_DIR} -le 70 ] || CEPH_DIR=/tmp/clonecache-run-ceph-$(id -u)
  say "Starting a Ceph cluster of one node in $CEPH_DIR (about 15 seconds; stopped at the end)"
  ceph=1
  "$top/e2e/ceph/cluster.sh" up
  say "Volumes are clones: RBD images in pool volumes. In another terminal: rbd -c $CEPH_DIR/ceph.conf ls -l volumes"
}

mount_xfs() {
  local file=$dir/volumes.xfs
  if [ ! -e "$file" ]; then
    truncate -s 20G "$file.new"
    mkfs.xfs -q -m reflink=1 "$file.new"
    mv "$file.new" "$file"
  fi
  mount -o loop,noatime "$file" "$dir/volumes"
}

has_reflinks() {
  local probe=$1/.reflink-probe answer=0
  echo probe >"$probe"
  cp --reflink=always "$probe" "$probe.clone" 2>/dev/null || answer=1
  rm -f "$probe" "$probe.clone"
  return $answer
}

# source_toml is the source of the image, on top of the library.
choose_image() {
  source_toml=
  mkdir -p "$dir/images"
  case $image in
    "") reference=library:$("$top/e2e/machine-image.sh" "$dir/images") || exit 1 ;;
    http://* | https://*)
      reference=web:${image##*/}
      source_toml=$(printf '[[image_source]]\nname = "web"\nkind = "http"\nurl = "%s"\n' "${image%/*}")
      ;;
    *)
      [ -r "$image" ] || die "cannot read IMAGE=$image"
      image=$(realpath "$image")
      reference=given:${image##*/}
      case $dir/ in "${image%/*}/"*) link_image ;; esac # a source must not contain our directories
      source_toml=$(printf '[[image_source]]\nname = "given"\nkind = "directory"\npath = "%s"\n' "${image%/*}")
      ;;
  esac
}

link_image() {
  local file
  mkdir -p "$dir/given"
  for file in "$image" "${image%/*}"/SHA{256,512}SUMS; do
    [ ! -e "$file" ] || cp -pu --link "$file" "$dir/given/" 2>/dev/null || cp -pu --sparse=always "$file" "$dir/given/"
  done
  image=$dir/given/${image##*/}
}

write_config() {
  cat >"$dir/clonecache.toml" <<TOML
# Written by 'make run'. Every key is explained in docs/configuration.md.
state_dir = "$dir/state"
listen = ["unix://$socket"]

[internal_tenant]
kind = "local"
max_volumes = 50
max_gigabytes = 200

[[image_source]]
name = "library"
kind = "directory"
path = "$dir/images"

$source_toml

[[backend]]
name = "local"
$(backend_toml)
max_size = "10GiB"
max_count = 50
fallback = "files"

[[file_cache]]
name = "files"
path = "$dir/files"
max_size = "10GiB"
max_count = 100
TOML
}

backend_toml() {
  if [ -z "$ceph" ]; then
    printf 'kind = "file"\npath = "%s"\n' "$dir/volumes"
    return 0
  fi
  printf 'kind = "rbd"\npool = "volumes"\nimage_volume_pool = "images"\n'
  printf 'conf = "%s/ceph.conf"\nuser = "clonecache"\nkeyring = "%s/client.clonecache.keyring"\n' "$CEPH_DIR" "$CEPH_DIR"
}

start_daemon() {
  say "Starting the daemon: clonecache serve --config $dir/clonecache.toml (log: $dir/daemon.log)"
  # Ctrl-C is for this script, which then stops the daemon in order.
  setsid "$clonecache" serve --config "$dir/clonecache.toml" >"$dir/daemon.log" 2>&1 &
  daemon=$!
  echo $daemon >"$dir/daemon.pid"
  for _ in $(seq 200); do
    "$clonecache" status >/dev/null 2>&1 && return 0
    kill -0 $daemon 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$dir/daemon.log" >&2
  die "the daemon did not get ready"
}

# The names carry the time, so that each run makes volumes of its own; those of earlier runs go first.
demonstrate() {
  local stamp volume
  stamp=$(date +%H%M%S)
  for volume in $("$clonecache" volume list -o json | sed -n 's/.*"volume": *"\(demo-[^"]*\)".*/\1/p'); do
    "$clonecache" volume delete "$volume" >/dev/null
  done
  say "The first volume from $reference"
  create "demo-$stamp-1" --progress always
  say "Ten more"
  for n in $(seq 2 11); do create "demo-$stamp-$n"; done
  say "What is cached"
  "$clonecache" entry list
  say "The report"
  "$clonecache" report
}

create() {
  "$clonecache" volume create "$reference" --name "$@"
}

wait_for_ctrl_c() {
  say "The daemon stays up until Ctrl-C. In another terminal:"
  cat <<TEXT
  export CLONECACHE_SERVER=$CLONECACHE_SERVER
  $clonecache volume create $reference --name mine --size 20GiB
  $clonecache volume list
  $clonecache entry list
  $clonecache report
  $clonecache --help
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
  rm -f "$dir/daemon.pid" "$dir/run.pid" "$dir/volumes.xfs.new" "${socket:-$dir/none}"
  [ -z "$ceph" ] || "$top/e2e/ceph/cluster.sh" down || true
  [ -z "$mounted" ] || umount "$dir/volumes" || umount -l "$dir/volumes" || true
  exit $status
}

main
