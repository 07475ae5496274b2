#!/usr/bin/env bash
# `make tempest`: the API tests of OpenStack's own integration suite that are about volumes (tempest.api.volume,
# and cinder_tempest_plugin.api of Cinder's developers), once with the volume driver that Cinder comes with and
# once with ours, on one lab. Every test must come to the same, and the daemon must have been asked for every
# volume that the tests made of an image. As root; half an hour, most of it Cinder's.
#
#   tempest.sh          all of them
#   tempest.sh images   those that make volumes of images, with ours; a minute. Where all of them pass, Cinder's own
#                       driver can do no better, and is only tried where one does not
#
#   TEMPEST_TYPE=rbd1|nfs1   the volume type of the tests; default rbd1
#   TEMPEST_REGEX=REGEXP     these tests only
#   TEMPEST_WORKERS=N        default 2
set -euo pipefail
suite=tempest
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../rig.sh"

export FAST=1 # nothing here depends on Ceph's timing
which=${1:-all}
type=${TEMPEST_TYPE:-rbd1}
packages=/usr/lib/python3/dist-packages

main() {
  needs tempest qemu-img openstack
  case $which in
    all) needs cinder-backup; regex='^(tempest\.api\.volume|cinder_tempest_plugin\.api)' least=180 asked=15 ;;
    images) regex=$(about_images) least=8 asked=9 ;;
    *) die "usage: tempest.sh [images]" ;;
  esac
  if [ "$which" = all ]; then
    begin
    prepare
    start_backup
    with_theirs
    our_turn
    with_ours
  else
    begin "$socket"
    prepare
    start_daemon
    with_ours
    [ -n "$all_passed" ] || with_theirs
  fi
  "$here/compare.py" "$work" "$least" "$asked"
  [ -z "${left:-}" ] || die "something of the cache was left over; see above"
}

prepare() {
  mend_plugin
  make_images
  write_conf >"$work/tempest.conf"
}

with_theirs() {
  theirs
  say "with Cinder's own driver"
  run stock
}

with_ours() {
  local log=$LAB_DIR/log/cinder-volume.log from
  from=$(stat -c %s "$log")
  say "with clonecache's"
  run ours
  tail -c "+$((from + 1))" "$log" >"$work/ours-cinder-volume.log"
  say "what clonecache was asked"
  "$clonecache" report | tee "$work/report.log"
  "$clonecache" report -o json >"$work/report.json"
  left_over || left=1
}

# The tests of which a part is a volume made of an image.
about_images() {
  local names=(
    'tempest\.api\.volume\.test_image_metadata'
    'tempest\.api\.volume\.test_volumes_clone\..*bootable'
    'tempest\.api\.volume\.test_volumes_extend\.VolumesExtendTest\.test_volume_extend\['
    'tempest\.api\.volume\.test_volumes_get\..*from_image'
    'tempest\.api\.volume\.test_volumes_negative\..*_image'
    'cinder_tempest_plugin\.api\.volume\.test_create_from_image'
    'cinder_tempest_plugin\.api\.volume\.test_multiple_volume_from_resource\.CreateVolumesFromImageTest'
  )
  (IFS='|'; printf '^(%s)' "${names[*]}")
}

# In test_multiple_volume_from_resource.py of 1.7.2 the keys of requests begin with a stray quote ("'imageRef"), which
# Cinder ignores: the tests make empty volumes. A copy without these goes before the package. The key of the
# test of backups stays as it is: what it means to do, Cinder refuses, which restores a backup once at a time.
mend_plugin() {
  local file=cinder_tempest_plugin/api/volume/test_multiple_volume_from_resource.py
  mkdir "$work/python"
  cp -r "$packages/cinder_tempest_plugin" "$packages"/cinder_tempest_plugin-*.egg-info "$work/python/"
  say "mending keys with a stray quote in $file: as packaged, test_create_from_image_multiple makes empty volumes"
  sed -i "/backup_id/! s/\"'/\"/" "$work/python/$file"
  ! grep -q "\"'imageRef" "$work/python/$file" || die "$file could not be mended"
}

# cinder-backup is no service of the lab. os-brick looks for the keyring in /etc/ceph, which is the lab's for
# this process alone.
start_backup() {
  mkdir -p "$work/backups" "$work/etc-ceph"
  cp "$CEPH_DIR/client.cinder.keyring" "$work/etc-ceph/ceph.client.cinder.keyring"
  cat >"$LAB_DIR/cinder.d/40-backup.conf" <<CONF
[DEFAULT]
backup_driver = cinder.backup.drivers.posix.PosixBackupDriver
backup_posix_path = $work/backups
backup_workers = 1
CONF
  PATH=$LAB_DIR/bin:$PATH HOME=$LAB_DIR CEPH_ARGS='' setsid unshare --mount --propagation slave \
    sh -c 'mount --bind "$1" /etc/ceph && shift && exec "$@"' sh "$work/etc-ceph" \
    cinder-backup --config-file "$LAB_DIR/etc/cinder.conf" --config-dir "$LAB_DIR/cinder.d" >"$work/backup.log" 2>&1 </dev/null 9>&- &
  backup=$!
  at_the_end stop_backup
}

stop_backup() {
  kill -TERM "$backup" 2>/dev/null || true
  wait "$backup" 2>/dev/null || true
  rm -f "$LAB_DIR/cinder.d/40-backup.conf"
}

make_images() {
  disk "$work/one.raw" 96 60
  qemu-img convert -O qcow2 "$work/one.raw" "$work/one.qcow2"
  disk "$work/two.raw" 100 70
  image tempest-two "$work/two.raw" raw >"$work/two.id" &
  one=$(image tempest-one "$work/one.qcow2" qcow2)
  wait $!
  two=$(<"$work/two.id")
}

# Tests of what the lab has not are left out: Nova, Neutron, Swift, consistency groups.
write_conf() {
  local protocol=ceph manage=true other=rbd2
  [[ $type != nfs* ]] || protocol=nfs manage=false other=nfs2
  cat <<CONF
[DEFAULT]
log_file = $work/tempest-debug.log
[oslo_concurrency]
lock_path = $work/locks
[auth]
use_dynamic_credentials = true
create_isolated_networks = false
admin_username = admin
admin_password = secret
admin_project_name = admin
admin_domain_name = Default
tempest_roles = member
[identity]
auth_version = v3
uri_v3 = http://127.0.0.1:$LAB_PORT/v3
region = lab
[service_available]
cinder = true
glance = true
nova = false
neutron = false
swift = false
[service-clients]
http_timeout = 300
[compute]
image_ref = $one
image_ref_alt = $two
build_timeout = 900
[volume]
volume_type = $type
backend_names = $type,$other
storage_protocol = $protocol
max_microversion = latest
manage_volume_ref = source-name,volume-%s
manage_snapshot_ref = source-name,snapshot-%s
build_timeout = 900
build_interval = 1
[volume-feature-enabled]
backup = true
multi_backend = true
manage_volume = $manage
manage_snapshot = $manage
volume_revert = true
extend_attached_volume = true
consistency_group = false
CONF
}

# run NAME leaves what every test came to in NAME.subunit, and sets $all_passed where none failed. What that means
# is for compare.py to judge.
run() {
  mkdir -p "$work/$1"
  all_passed=
  (
    cd "$work/$1"
    HOME=$work PYTHONPATH=$work/python PYTHON=/usr/bin/python3 tempest run --config-file "$work/tempest.conf" \
      --concurrency "${TEMPEST_WORKERS:-2}" --regex "${TEMPEST_REGEX:-$regex}" 9>&- >"$work/$1-run.log" 2>&1 || touch failed
    tail -n 12 "$work/$1-run.log" >&2
    cp .stestr/0 "$work/$1.subunit" 2>/dev/null || die "tempest did not run: $(tail -n 5 "$work/$1-run.log")"
  )
  [ -e "$work/$1/failed" ] || all_passed=1
}

main; exit
