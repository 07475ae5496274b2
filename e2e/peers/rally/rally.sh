#!/usr/bin/env bash
# `make rally`: Rally, OpenStack's own load test, makes a volume of an image and deletes it, 100 times, ten at a
# time (CinderVolumes.create_and_delete_volume), with Cinder's own image-volume cache and as often with clonecache. The two
# take turns on one lab, so that what else the machine does meets both. The image is cached before. None may fail, and the
# 95th percentile of making a volume is a third of Cinder's at most. As root. Ceph has its default timing, in which a snapshot
# takes up to a second.
#
#   RALLY_TIMES=N RALLY_AT_ONCE=N   default 100 and 10
#   RALLY_TURNS=N                   of each, by default 2; the volumes are shared out among them
set -euo pipefail
suite=rally
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../rig.sh"

times=${RALLY_TIMES:-100}
at_once=${RALLY_AT_ONCE:-10}
turns=${RALLY_TURNS:-2}
unset FAST

main() {
  local turn
  needs rally openstack
  [ $((times % turns)) = 0 ] || die "RALLY_TIMES=$times cannot be shared out among RALLY_TURNS=$turns"
  begin
  disk "$work/image.raw" 512 256
  image=$(image rally "$work/image.raw" raw)
  write_conf
  rally_ db create
  rally_ env create --name lab --spec "$work/lab.json"
  for turn in $(seq "$turns"); do
    theirs CINDER_CACHE=1
    warm_up
    cinder_has_cached
    load cinder "$turn"
    our_turn CINDER_CACHE=0
    warm_up
    load clonecache "$turn"
  done
  "$clonecache" report | tee "$work/report.log"
  empty_cinders_cache
  left_over || left=1
  "$here/compare.py" "$work" "$times"
  [ -z "${left:-}" ] || die "something of the cache was left over; see above"
}

# Rally looks every half second how far a volume is, and not only after two seconds.
write_conf() {
  cat >"$work/rally.conf" <<CONF
[DEFAULT]
log_file = $work/rally-debug.log
[database]
connection = sqlite:///$work/rally.db
[openstack]
cinder_volume_create_prepoll_delay = 0
cinder_volume_create_poll_interval = 0.5
cinder_volume_create_timeout = 1800
cinder_volume_delete_poll_interval = 0.5
cinder_volume_delete_timeout = 1800
CONF
  cat >"$work/lab.json" <<JSON
{"existing@openstack": {
  "auth_url": "http://127.0.0.1:$LAB_PORT/v3", "region_name": "lab",
  "admin": {"username": "admin", "password": "secret", "project_name": "admin",
            "user_domain_name": "Default", "project_domain_name": "Default"}}}
JSON
  cat >"$work/load.json" <<JSON
{"version": 2, "title": "volumes of an image", "subtasks": [{
  "title": "create and delete",
  "scenario": {"CinderVolumes.create_and_delete_volume": {"size": 1, "image": {"name": "rally"}, "volume_type": "rbd1"}},
  "runner": {"constant": {"times": $((times / turns)), "concurrency": $at_once}},
  "contexts": {"users": {"tenants": 2, "users_per_tenant": 1}}}]}
JSON
}

rally_() { HOME=$work rally --config-file "$work/rally.conf" "$@" >>"$work/rally.log" 2>&1 9>&- || die "rally $1 $2: $(tail -n 20 "$work/rally.log")"; }

# load NAME TURN leaves what Rally measured in NAME-TURN.json. That iterations fail is for compare.py to judge.
load() {
  say "$((times / turns)) volumes, $at_once at a time, with $1"
  rally_ task start "$work/load.json"
  rally_ task report --json --out "$work/$1-$2.json"
}

# warm_up makes a volume and deletes it: cinder-volume has started anew, and the first time the image is not cached.
warm_up() {
  local id
  say "a volume beforehand"
  id=$(openstack volume create --image "$image" --size 1 --type rbd1 warm-up -f value -c id)
  settled "$id" available
  openstack volume delete "$id"
  settled "$id" ''
}

# settled VOLUME STATUS waits for a status, '' for its end, and does not outlast error.
settled() {
  local status=none n
  for n in $(seq 600); do
    status=$(openstack volume show "$1" -f value -c status 2>"$work/show.log") || { grep -q 'No volume' "$work/show.log" && status=''; }
    [ "$status" != "$2" ] || return 0
    [[ $status != error* ]] || break
  done
  die "volume $1 is ${status:-gone}, and not ${2:-gone}; see cinder-volume's log"
}

# internal lists the image-volumes of Cinder's own cache: ours lie in the same project, under the same names.
internal() { OS_CLOUD=cinder-internal openstack volume list --long -f value -c ID -c Status -c Properties | grep -v clonecache_ | cut -d' ' -f1,2; }

cinder_has_cached() {
  local n
  for n in $(seq 300); do
    ! internal | grep -q ' available$' || return 0
  done
  die "Cinder did not cache the image; see cinder-volume's log"
}

empty_cinders_cache() {
  local id
  for id in $(internal | cut -d' ' -f1); do
    OS_CLOUD=cinder-internal openstack volume delete "$id"
    settled "$id" ''
  done
}

main; exit
