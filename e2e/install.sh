#!/usr/bin/env bash
# Makes sure that the tools which tests, benchmarks and `make run` use are there: as root it installs
# what is missing from Debian's packages; otherwise it says what is missing and what that costs. It
# never fails for a missing tool: the tests that need it skip and name it, and CI fails on the skip.
#
#   install.sh        what everything needs
#   install.sh ceph   also Ceph's daemons and headers, for the RBD backend and its tests
#   install.sh databases   also MariaDB with Galera and PostgreSQL, for the catalog's tests; no instance is left started
#   install.sh packages   also what building and installing the Debian packages needs
#   install.sh openstack   also Keystone, Glance and Cinder with what they need (about 900 MB), for the lab
#   install.sh tempest|rally   also what all of OpenStack's own tests of volumes need, or its load test
#   install.sh nova   also Nova, placement, Neutron and libvirt, for servers that boot from the lab's volumes
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
xz:xz-utils:compressed images
zstd:zstd:compressed images
bzip2:bzip2:compressed images
prometheus:prometheus:metrics and alerts on the real program
chromium:chromium:the admin page in a real browser
"

# axe-core judges the admin page's accessibility. It is npm's, so it is pinned by its digest; without it that page is looked at
# by fewer checks.
axe=4.10.2 axe_sum=9ea2d2d6917da998122bdacfd3b473e31ead53f4b87146c716a12edf89158100
tools=$(cd "$(dirname "$0")/.." && pwd)/.tools
get_axe() { # once curl is there
  if [ -e "$tools/axe-core-$axe.min.js" ] || ! command -v curl >/dev/null; then return; fi
  mkdir -p "$tools"
  if curl -sSf --connect-timeout 10 --max-time 60 -o "$tools/axe.tgz" "https://registry.npmjs.org/axe-core/-/axe-core-$axe.tgz" &&
    echo "$axe_sum  $tools/axe.tgz" | sha256sum -c --quiet; then
    tar -xzOf "$tools/axe.tgz" package/axe.min.js >"$tools/axe.new" && mv "$tools/axe.new" "$tools/axe-core-$axe.min.js"
  else
    echo "Could not get axe-core $axe: the admin page is looked at by fewer checks." >&2
  fi
  rm -f "$tools/axe.tgz" "$tools/axe.new"
}

missing=() packages=()
want() { # want PACKAGE WHAT PURPOSE
  missing+=("  $2 (package $1): $3")
  packages+=("$1")
}
while IFS=: read -r tool package purpose; do
  [ -z "$tool" ] || command -v "$tool" >/dev/null || want "$package" "$tool" "$purpose"
done <<<"$needs"
[ -e /usr/include/stdlib.h ] || want libc6-dev "the C library's headers" "the race detector"
[ -e /usr/lib/grub-rescue/grub-rescue-cdrom.iso ] || want grub-rescue-pc "GRUB's rescue disks" "real ISOs, USB and floppy images"
[ -e /usr/lib/ipxe/ipxe.iso ] || want ipxe ipxe.iso "real ISOs"
[ -e /usr/lib/memtest86+/memtest86+x64.iso ] || want memtest86+ memtest86+x64.iso "real ISOs"
[ -e /usr/include/libdeflate.h ] || want libdeflate-dev "libdeflate's header" "decoding zlib images fast"
[ -e /usr/include/lzma.h ] || want liblzma-dev "liblzma's header" "unpacking xz fast"
[ -e /usr/include/bzlib.h ] || want libbz2-dev "libbz2's header" "unpacking bzip2 fast"
[ -e /usr/include/zstd.h ] || want libzstd-dev "libzstd's header" "decoding zstd images fast"

what=${1:-}
case $what in tempest | rally | nova) what=openstack ;; esac

if [ "$what" = ceph ] || [ "$what" = openstack ]; then
  for daemon in mon osd mgr; do
    command -v ceph-$daemon >/dev/null || want ceph-$daemon ceph-$daemon "a cluster on this machine"
  done
  command -v rbd >/dev/null || want ceph-common rbd "a cluster on this machine"
  [ -e /usr/include/rbd/librbd.h ] || want librbd-dev "librbd's headers" "the RBD backend"
  [ -e /usr/include/rados/librados.h ] || want librados-dev "librados' headers" "the RBD backend"
  command -v qemu-system-x86_64 >/dev/null || want qemu-system-x86 qemu-system-x86_64 "a guest that reads its volume"
  compgen -G '/usr/lib/*/qemu/block-rbd.so' >/dev/null || want qemu-block-extra "QEMU's driver for RBD" "a guest that reads its volume, and fills to compare with"
fi

if [ "$what" = packages ] || [ "$what" = openstack ]; then
  for program in debootstrap lintian; do
    command -v $program >/dev/null || want $program $program "installing the Debian packages in a root of their own"
  done
  command -v man >/dev/null || want man-db man "the man pages"
  command -v systemd-analyze >/dev/null || want systemd systemd-analyze "the unit's hardening"
fi

if [ "$what" = databases ]; then
  for program in mariadbd:mariadb-server openssl:openssl setpriv:util-linux rsync:rsync lsof:lsof; do
    command -v "${program%%:*}" >/dev/null || want "${program##*:}" "${program%%:*}" "the catalog on MariaDB"
  done
  [ -e /usr/lib/galera/libgalera_smm.so ] || want galera-4 Galera "the catalog on a cluster"
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || want postgresql PostgreSQL "the catalog on it"
fi

if [ "$what" = openstack ]; then
  while IFS=: read -r program package; do
    command -v "$program" >/dev/null || want "$package" "$program" "a Cinder on this machine"
  done <<'PROGRAMS'
keystone-manage:keystone
glance-api:glance-api
cinder-api:cinder-api
cinder-scheduler:cinder-scheduler
cinder-volume:cinder-volume
openstack:python3-openstackclient
glance:python3-glanceclient
cinder:python3-cinderclient
mariadbd:mariadb-server
rabbitmq-server:rabbitmq-server
memcached:memcached
uwsgi:uwsgi-core
uwsgi_python3:uwsgi-plugin-python3
PROGRAMS
  while IFS=: read -r program package; do
    command -v "$program" >/dev/null || want "$package" "$program" "public images as KubeVirt's importer reads them"
  done <<'PROGRAMS'
nbdkit:nbdkit
nbdcopy:libnbd-bin
nbdinfo:libnbd-bin
PROGRAMS
  /usr/bin/python3 -c 'import flake8' 2>/dev/null || want python3-flake8 flake8 "the style of the Cinder hook"
  /usr/bin/python3 -c 'import oslotest, ddt' 2>/dev/null || want "python3-oslotest python3-ddt" "what Cinder's unit tests need" "Cinder's unit tests on our drivers"
  /usr/bin/python3 -c 'import rbd, rados' 2>/dev/null || want "python3-rbd python3-rados" "librbd for Python" "Cinder's RBD driver"
  command -v tempest >/dev/null || want tempest tempest "OpenStack's own tests of volumes"
  /usr/bin/python3 -c 'import cinder_tempest_plugin' 2>/dev/null || want cinder-tempest-plugin cinder-tempest-plugin "OpenStack's own tests of volumes"
fi

if [ "${1:-}" = tempest ]; then
  command -v cinder-backup >/dev/null || want cinder-backup cinder-backup "OpenStack's own tests of backups"
fi

if [ "${1:-}" = rally ]; then
  /usr/bin/python3 -c 'import rally_openstack' 2>/dev/null || want python3-rally-openstack rally "OpenStack's own load test"
fi

if [ "${1:-}" = nova ]; then
  while IFS=: read -r program package; do
    command -v "$program" >/dev/null || want "$package" "$program" "servers that boot from volumes"
  done <<'PROGRAMS'
nova-api:nova-api
nova-conductor:nova-conductor
nova-scheduler:nova-scheduler
nova-compute:nova-compute
placement-api:placement-api
neutron-server:neutron-server
libvirtd:libvirt-daemon
virsh:libvirt-clients
grub-mkimage:grub-common
PROGRAMS
  [ -e /usr/lib/grub/i386-pc/boot.img ] || want grub-pc-bin "GRUB's images" "a disk that a server boots from"
fi

[ ${#missing[@]} -gt 0 ] || { get_axe; exit 0; }
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "Not installed, so what needs it is skipped:" >&2
  printf '%s\n' "${missing[@]}" >&2
  get_axe
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
install() { apt-get install -q -y --no-install-recommends "$@" >&2; }
apt-get update -q >&2 || true
install ${packages[*]} || for package in ${packages[*]}; do # one that cannot be had keeps no other away
  install "$package" || echo "Could not install $package; what needs it is skipped." >&2
done
get_axe
