#!/usr/bin/env bash
# Makes sure that the tools which tests, benchmarks and `make run` use are there: as root it installs
# what is missing from Debian's packages; otherwise it says what is missing and what that costs. It
# never fails for a missing tool: the tests that need it skip and name it, and CI fails on the skip.
#
#   install.sh        what everything needs
#   install.sh ceph   also Ceph's daemons and headers, for the RBD backend and its tests
set -euo pipefail
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# tool:package:what it is for
needs="
qemu-img:qemu-utils:real disk images, and the oracle for decoding them
mkfs.xfs:xfsprogs:volumes with reflinks on a loop-mounted XFS
mkfs.btrfs:btrfs-progs:volumes with reflinks on a loop-mounted btrfs
mke2fs:e2fsprogs:disk images with a filesystem of real files
gcc:gcc:the race detector
curl:curl:downloads to compare with
losetup:mount:loop mounts
"

missing=() packages=()
want() { # want PACKAGE WHAT PURPOSE
  missing+=("  $2 (package $1): $3")
  packages+=("$1")
}
while IFS=: read -r tool package purpose; do
  [ -z "$tool" ] || command -v "$tool" >/dev/null || want "$package" "$tool" "$purpose"
done <<<"$needs"
[ -e /usr/include/stdlib.h ] || want libc6-dev "the C library's headers" "the race detector"
[ -e /usr/include/libdeflate.h ] || want libdeflate-dev "libdeflate's header" "decoding zlib images fast"
[ -e /usr/include/zstd.h ] || want libzstd-dev "libzstd's header" "decoding zstd images fast"

if [ "${1:-}" = ceph ]; then
  for daemon in mon osd mgr; do
    command -v ceph-$daemon >/dev/null || want ceph-$daemon ceph-$daemon "a cluster on this machine"
  done
  command -v rbd >/dev/null || want ceph-common rbd "a cluster on this machine"
  [ -e /usr/include/rbd/librbd.h ] || want librbd-dev "librbd's headers" "the RBD backend"
  [ -e /usr/include/rados/librados.h ] || want librados-dev "librados' headers" "the RBD backend"
fi

[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "Not installed, so what needs it is skipped:" >&2
  printf '%s\n' "${missing[@]}" >&2
  exit 0
fi

# No package may start a service on this machine while we install it.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 0755 $policy
  trap 'rm -f $policy' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
echo "Installing ${packages[*]} ..." >&2
{ apt-get update -q && apt-get install -q -y --no-install-recommends "${packages[@]}"; } >&2 ||
  echo "Could not install ${packages[*]}; what needs them is skipped." >&2
