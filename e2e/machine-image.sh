#!/usr/bin/env bash
# machine-image.sh DIR makes a disk image from files of this machine, once: an ext4 filesystem with at
# least 256 MiB of them, as DIR/machine.qcow2, or as DIR/machine.raw where there is no qemu-img. It prints
# the image's name.
set -euo pipefail
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

say() { printf '%s\n' "$*" >&2; }
die() { say "make run: $*"; exit 1; }

dir=$1
name=machine.qcow2
command -v qemu-img >/dev/null || { name=machine.raw; say "qemu-img is not installed: the image is raw instead of qcow2."; }
echo $name
[ ! -e "$dir/$name" ] || exit 0
command -v mke2fs >/dev/null || die "mke2fs is not installed (package e2fsprogs); give an image: make run IMAGE=FILE"

work=$(mktemp -d "$dir/../image.XXXXXX")
trap 'rm -rf "$work"' EXIT
files=$work/files raw=$work/machine.raw

# Directories of the machine, one after another, until there is enough, and no more than fits.
collect_files() {
  local part size held=0
  for part in "$(go env GOROOT 2>/dev/null)"/{bin,pkg/tool,lib,src} /usr/bin /usr/lib/x86_64-linux-gnu /usr/lib/aarch64-linux-gnu /usr/share /usr/include /usr/sbin; do
    [ -d "$part" ] || continue
    size=$(du -sm "$part" 2>/dev/null | cut -f1)
    [ "$size" -lt $((700 - held)) ] || continue
    mkdir -p "$files$part"
    cp -r --no-dereference --preserve=mode "$part/." "$files$part/" 2>/dev/null || true
    held=$(du -sm "$files" | cut -f1)
    [ "$held" -lt 320 ] || return 0
  done
  [ "$held" -ge 256 ] || die "found only $held MiB of files for the image; give an image: make run IMAGE=FILE"
}

say "Making a disk image from files of this machine: $dir/$name"
mkdir "$files"
collect_files
truncate -s 1G "$raw"
mke2fs -q -F -t ext4 -d "$files" "$raw" >&2
[ $name = machine.raw ] || qemu-img convert -f raw -O qcow2 "$raw" "$work/$name"
mv "$work/$name" "$dir/$name"
