#!/usr/bin/env bash
# `make run`: the main job before your eyes, in one directory. It starts a daemon with the embedded
# default (SQLite, a unix socket, a directory as backend), makes one volume from an image (a fill) and
# ten more (clones, or copies where the filesystem has no reflinks), prints the report, and stays up
# until Ctrl-C.
#
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

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
die() { printf 'make run: %s\n' "$*" >&2; exit 1; }

main() {
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  trap clean_up EXIT
  trap 'exit 130' INT TERM HUP
  be_the_only_one
  choose_socket
  "$top/e2e/install.sh"
  mount_volumes
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
  exec 9>"$dir/lock"
  flock -n 9 && return
  die "another 'make run' or its daemon (process $(cat "$dir/daemon.pid" 2>/dev/null || echo unknown)) is still using $dir. Stop it first: kill $(cat "$dir/daemon.pid" 2>/dev/null)"
}

# A unix socket's path has at most 107 bytes.
choose_socket() {
  socket=$dir/clonecache.sock
  if [ ${#socket} -gt 107 ]; then
    socket=${XDG_RUNTIME_DIR:-/tmp}/clonecache-run-$(printf %s "$dir" | cksum | cut -d' ' -f1).sock
    echo "The path of $dir is too long for a unix socket; the socket is $socket."
  fi
  export CLONECACHE_SERVER=unix://$socket
}

# Where the filesystem has no reflinks and we are root, the volumes go to an XFS in a sparse file.
mount_volumes() {
  mkdir -p "$dir/volumes"
  ! mountpoint -q "$dir/volumes" || { mounted=1; return 0; } # left by a run that was killed
  if has_reflinks "$dir/volumes"; then
    say "Volumes are clones: $(stat -f -c %T "$dir") has reflinks."
    return 0
  fi
  if [ "$(id -u)" = 0 ] && command -v mkfs.xfs >/dev/null && mount_xfs; then
    mounted=1
    say "$(stat -f -c %T "$dir") has no reflinks: volumes lie on an XFS in the sparse file $dir/volumes.xfs (unmounted at the end)."
    return 0
  fi
  say "$(stat -f -c %T "$dir") has no reflinks, and only root can mount an XFS file here: volumes are copied from the file cache."
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
    "") make_image ;;
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

# The image: an ext4 filesystem with at least 256 MiB of this machine's files, as qcow2; made once.
make_image() {
  local name=machine.qcow2
  command -v qemu-img >/dev/null || { name=machine.raw; echo "qemu-img is not installed: the image is raw instead of qcow2."; }
  reference=library:$name
  [ ! -e "$dir/images/$name" ] || return 0
  command -v mke2fs >/dev/null || die "mke2fs is not installed (package e2fsprogs); give an image: make run IMAGE=FILE"
  say "Making a disk image from files of this machine: $dir/images/$name"
  local files=$dir/image.files raw=$dir/image.raw
  rm -rf "$files" "$raw"
  mkdir -p "$files"
  collect_files "$files"
  mke2fs -q -F -t ext4 -d "$files" "$raw" 1G
  rm -rf "$files"
  if [ $name = machine.raw ]; then
    mv "$raw" "$dir/images/$name"
  else
    qemu-img convert -f raw -O qcow2 "$raw" "$dir/image.new"
    mv "$dir/image.new" "$dir/images/$name"
    rm -f "$raw"
  fi
}

# Directories of the machine, one after another, until there is enough, and no more than fits.
collect_files() {
  local part held=0 size
  for part in "$(go env GOROOT 2>/dev/null)"/{bin,pkg/tool,lib,src} /usr/bin /usr/lib/x86_64-linux-gnu /usr/lib/aarch64-linux-gnu /usr/share; do
    [ -d "$part" ] || continue
    size=$(du -sm "$part" 2>/dev/null | cut -f1)
    [ "$size" -lt $((700 - held)) ] || continue
    mkdir -p "$1$part"
    cp -r --no-dereference --preserve=mode "$part/." "$1$part/" 2>/dev/null || true
    held=$(du -sm "$1" | cut -f1)
    [ "$held" -lt 320 ] || return 0
  done
  [ "$held" -ge 256 ] || die "found only $held MiB of files for the image; give an image: make run IMAGE=FILE"
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
kind = "file"
path = "$dir/volumes"
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
  "$clonecache" volume list -o json | grep -o '"volume": *"demo-[^"]*"' | cut -d'"' -f4 | while read -r volume; do
    "$clonecache" volume delete "$volume" >/dev/null
  done
  say "The first volume from $reference"
  create "demo-$stamp-1"
  say "Ten more"
  for n in $(seq 2 11); do create "demo-$stamp-$n"; done
  say "What is cached"
  "$clonecache" entry list
  say "The report"
  "$clonecache" report
}

create() {
  "$clonecache" volume create "$reference" --name "$1"
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
  rm -f "$dir/daemon.pid" "$dir/image.new" "$dir/volumes.xfs.new" "${socket:-$dir/none}"
  [ -z "$mounted" ] || umount "$dir/volumes" || umount -l "$dir/volumes" || true
  exit $status
}

main
