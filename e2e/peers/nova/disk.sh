#!/usr/bin/env bash
# disk.sh FILE makes a raw disk of 1 GiB from which a machine with a BIOS boots, most of it random, and prints the checksum that
# its guest prints on the serial console, in a line "disk SUM": the SHA-256 of the first MiB of each 16 MiB of it. (All of it
# would take QEMU without KVM minutes.) The guest writes nothing to its disk, and halts.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../../.." && pwd)
disk=$1
guest=$top/.cache/guest
grub=/usr/lib/grub/i386-pc
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

[ "$guest/initrd" -nt "$top/e2e/guest/kernel.sh" ] || "$top/e2e/guest/kernel.sh" "$guest" >&2

# Its first partition has kernel and initramfs, and GRUB lies before it.
cat >"$work/grub.cfg" <<'GRUB'
set root=(hd0,msdos1)
linux /vmlinuz console=ttyS0 quiet panic=-1 stripes=64
initrd /initrd
boot
GRUB
grub-mkimage -O i386-pc -d $grub -c "$work/grub.cfg" -p / -o "$work/core.img" biosdisk part_msdos ext2 linux normal
rm -f "$disk"
truncate -s 1G "$disk"
echo 'start=2048, size=131072, type=83, bootable' | sfdisk -q "$disk"
dd if=$grub/boot.img of="$disk" bs=440 count=1 conv=notrunc status=none
dd if="$work/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
mkdir "$work/files"
cp "$guest/vmlinuz" "$guest/initrd" "$work/files/"
mke2fs -q -F -t ext4 -d "$work/files" -E offset=$((2048 * 512)) "$disk" 64M
dd if=/dev/urandom of="$disk" bs=1M seek=65 count=690 conv=notrunc status=none
for stripe in $(seq 0 63); do dd if="$disk" bs=1M skip=$((stripe * 16)) count=1 status=none; done | sha256sum | cut -d' ' -f1
