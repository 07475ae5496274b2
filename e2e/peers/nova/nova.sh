#!/usr/bin/env bash
# `make nova`: servers that boot from volumes which Cinder makes of an image through clonecache, by a real Nova, on QEMU that
# translates the guest's code: one from a cold image, and five at once. Each becomes ACTIVE, and its guest prints the checksum of
# its disk on its console. Then two from the image itself, which nova-compute downloads through `[glance_api]`: the second without
# Glance. As root; a quarter of an hour.
set -euo pipefail
suite=nova
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../rig.sh"
export FAST=1 # nothing here depends on Ceph's timing

main() {
  needs openstack nova-api nova-compute placement-api neutron-server libvirtd virsh grub-mkimage qemu-img
  begin "$socket"
  start_daemon
  say "making a disk of 1 GiB, and an image of it"
  sum=$("$here/disk.sh" "$work/disk.raw")
  qemu-img convert -O qcow2 "$work/disk.raw" "$work/disk.qcow2"
  image=$(image nova "$work/disk.qcow2" qcow2)
  at_the_end stop_nova
  say "starting placement, Neutron, Nova and libvirt"
  "$here/cloud.sh" up "http://127.0.0.1:$((LAB_PORT + 23))" 9>&-
  say "booting servers of it, whose guests print $sum"
  "$here/servers.py" "$image" "$sum" "$clonecache" | tee "$work/servers.log" || failed=1
  "$clonecache" report | tee "$work/report.log"
  left_over || failed=1
  [ -z "${failed:-}" ] || die "see above, and the logs in $LAB_DIR/log (KEEP_LOGS=DIR keeps them)"
}

stop_nova() { "$here/cloud.sh" down 9>&-; }

# more_config is added to the daemon's configuration.
more_config() {
  cat <<TOML
[glance_api]
listen = ["tcp://127.0.0.1:$((LAB_PORT + 23))"]
file_cache = "files"
TOML
}

main; exit
