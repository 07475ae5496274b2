#!/usr/bin/env bash
# Makes DIR/vmlinuz and DIR/initrd from Debian's packages, without installing them: the newest cloud
# kernel and an initramfs of busybox with that kernel's modules for a virtio disk (ext4 is in it). The guest
# that they boot mounts /dev/vda, prints a line "SUM  PATH" (SHA-256) for each file on it between the
# lines "sums begin" and "sums end", and switches itself off. With stripes=N on the kernel's command line it mounts
# nothing: it prints a line "disk SUM", the SHA-256 of N pieces of /dev/vda, the first MiB of each 16 MiB, and halts.
#
#   kernel.sh DIR
set -euo pipefail
dir=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

package=$(apt-cache depends --important linux-image-cloud-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
[ -n "$package" ] || { echo "kernel.sh: apt knows no linux-image-cloud-amd64; run apt-get update" >&2; exit 1; }
# As root, apt would leave for a user of its own, who cannot write here.
apt-get -q -o APT::Sandbox::User=root download "$package" busybox-static >&2
for deb in *.deb; do dpkg -x "$deb" packages; done

version=${package#linux-image-}
from=packages/lib/modules/$version
[ -d "$from" ] || from=packages/usr/lib/modules/$version
to=initrd/lib/modules/$version
mkdir -p initrd/{bin,dev,proc,sys,disk} "$to/kernel/drivers/block"
cp packages/bin/busybox initrd/bin/
cp -r "$from/kernel/drivers/virtio" "$to/kernel/drivers/"
cp "$from/kernel/drivers/block/virtio_blk.ko" "$to/kernel/drivers/block/"
cp "$from"/modules.{builtin,order} "$to/"
packages/bin/busybox depmod -b initrd "$version"

cat >initrd/init <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
modprobe virtio_pci
modprobe virtio_blk
n=0
while [ ! -b /dev/vda ] && [ $n -lt 50 ]; do n=$((n + 1)); usleep 100000; done
for word in $(cat /proc/cmdline); do
  case $word in
    stripes=*)
      sum=$(n=0; while [ $n -lt ${word#*=} ]; do dd if=/dev/vda bs=1M skip=$((n * 16)) count=1 2>/dev/null; n=$((n + 1)); done | sha256sum)
      echo "disk ${sum%% *}"
      halt -f
      ;;
  esac
done
mount -t ext4 -o ro /dev/vda /disk && cd /disk && {
  echo "sums begin"
  find . -xdev -type f -exec sha256sum {} +
  echo "sums end"
}
poweroff -f
INIT
chmod 0755 initrd/init
(cd initrd && find . | ../packages/bin/busybox cpio -o -H newc 2>/dev/null | gzip -1) >initrd.gz

mkdir -p "$dir"
cp packages/boot/vmlinuz-"$version" "$dir/vmlinuz.new"
cp initrd.gz "$dir/initrd"
mv "$dir/vmlinuz.new" "$dir/vmlinuz"
