#!/usr/bin/env bash
# A Ceph cluster of one mon, one mgr and one OSD on this machine's loopback, from Debian's packages,
# for tests, benchmarks and `make run BACKEND=rbd`. Everything it writes lies in one directory, and it
# touches no other cluster: /etc/ceph and /var/lib/ceph are neither read nor written.
#
#   cluster.sh up      makes the cluster, or starts it again, or finds that it runs
#   cluster.sh down    stops it; what BlueStore holds stays for the next up
#   cluster.sh wipe    stops it and removes the directory
#   cluster.sh status  says whether it runs (exit 0) or not (exit 1)
#   cluster.sh osd-stop | osd-kill | osd-start | osd-pause | osd-resume | mon-stop | mon-start
#              for tests of outages
#   cluster.sh ceph ARGS...   asks the cluster as client.admin
#
#   CEPH_DIR=DIR   default /tmp/clonecache-ceph-UID; at most 70 bytes, for its unix sockets
#   CEPH_PORT=N    the mon's port, default 7100; OSD and mgr use the 30 ports above it
#   OSD_SIZE=N     bytes of the OSD's sparse file, default 20 GiB
#   FAST=1         for functional tests only: objects in memory (lost by down), a mon that commits every
#                  20 ms instead of Ceph's 1 s, and an OSD that misses dead clients after 5 s instead of 30.
#                  up does not wait for the mgr, which has few modules
#   CEPH_POOLS     the pools, default "volumes images"
#   CEPH_USERS     users with nothing but `profile rbd` on those pools, default "clonecache"; and client.admin
#
# As root the daemons run as user ceph where that can reach the directory.
set -euo pipefail
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export CEPH_ARGS= CEPH_CONF=/dev/null

dir=${CEPH_DIR:-/tmp/clonecache-ceph-$(id -u)}
port=${CEPH_PORT:-7100}
osd_size=${OSD_SIZE:-$((20 << 30))}
read -ra pools <<<"${CEPH_POOLS:-volumes images}"
read -ra users <<<"${CEPH_USERS:-clonecache}"
user=

die() { printf 'cluster.sh: %s\n' "$*" >&2; exit 1; }

main() {
  case $dir in /*) ;; *) die "CEPH_DIR=$dir must be an absolute path" ;; esac
  [ ${#dir} -le 70 ] || die "CEPH_DIR=$dir is longer than 70 bytes, too long for unix sockets in it"
  case ${1:-} in
    up) packages && with_lock up ;;
    down) with_lock down ;;
    wipe) with_lock wipe ;;
    status) status ;;
    osd-stop) stop osd TERM ;;
    osd-kill) stop osd KILL ;;
    osd-start) choose_user && start_osd && wait_for_osd ;;
    osd-pause) send osd STOP ;;
    osd-resume) send osd CONT ;;
    mon-stop) stop mon TERM ;;
    mon-start) choose_user && start_mon ;;
    ceph) admin "${@:2}" ;;
    *) die "usage: cluster.sh up|down|wipe|status|osd-VERB|mon-VERB|ceph ARGS; see its first lines" ;;
  esac
}

packages() {
  local tool missing=()
  for tool in ceph-mon ceph-osd ceph-mgr ceph rbd ceph-authtool monmaptool; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  [ ${#missing[@]} = 0 ] || die "not installed: ${missing[*]}. Run e2e/install.sh ceph as root (ceph-mon, ceph-osd, ceph-mgr, ceph-common)."
}

with_lock() {
  mkdir -p "$dir"
  exec 8>"$dir.lock"
  flock -w 120 8 || die "another cluster.sh works on $dir"
  "$1"
}

# choose_user sets $user to the prefix that runs a daemon without privileges.
choose_user() {
  user=()
  [ "$(id -u)" = 0 ] && id ceph >/dev/null 2>&1 || return 0
  if setpriv --reuid ceph --regid ceph --init-groups test -x "$(dirname "$dir")"; then
    user=(setpriv --reuid ceph --regid ceph --init-groups)
  fi
}

up() {
  choose_user
  if status >/dev/null && answers; then return 0; fi
  down # a part of it may be left
  if [ -e "$dir/fast" ] || [ ! -e "$dir/made" ]; then
    find "$dir" -mindepth 1 -delete
    make_cluster
  fi
  start_mon && start_mgr && start_osd
  [ -e "$dir/made" ] || make_pools
  wait_for_osd
  [ -n "${FAST:-}" ] || wait_for_mgr
  : >"$dir/made"
}

make_cluster() {
  mkdir -p "$dir"/{mon,osd,mgr,run,log}
  [ -z "${FAST:-}" ] || : >"$dir/fast"
  local fsid
  fsid=$(cat /proc/sys/kernel/random/uuid)
  write_conf "$fsid"
  make_keys
  monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$port]" "$dir/monmap" >/dev/null
  [ ${#user[@]} = 0 ] || { chown -R ceph:ceph "$dir"; chmod 0755 "$dir"; }
  "${user[@]}" ceph-mon -i a -c "$dir/ceph.conf" --mkfs --monmap "$dir/monmap" --keyring "$dir/all.keyring" 2>"$dir/log/mkfs-mon" ||
    die "ceph-mon --mkfs failed: $(cat "$dir/log/mkfs-mon")"
  chmod 0644 "$dir"/client.*.keyring # a test cluster on loopback: whoever runs the tests may read them
}

# The mon's own timing stays Ceph's default unless FAST.
write_conf() {
  cat >"$dir/ceph.conf" <<CONF
[global]
fsid = $1
mon_host = [v2:127.0.0.1:$port]
public_network = 127.0.0.0/8
ms_bind_ipv6 = false
ms_bind_msgr1 = false
ms_bind_port_min = $((port + 1))
ms_bind_port_max = $((port + 30))
keyring = $dir/\$name.keyring
run_dir = $dir/run
pid_file = $dir/run/\$type.pid
admin_socket = $dir/run/\$type.asok
log_file = $dir/log/\$type.log
crash_dir = $dir/log
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0

[mon]
mon_data = $dir/mon
keyring = $dir/mon/keyring
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
auth_allow_insecure_global_id_reclaim = false
mon_osd_nearfull_ratio = .85
mon_osd_backfillfull_ratio = .90
mon_osd_full_ratio = .95
mon_data_avail_warn = 1
mon_data_avail_crit = 0

[osd]
osd_data = $dir/osd
osd_memory_target = 1073741824
bluestore_block_size = $osd_size
bluestore_block_create = true

[mgr]
mgr_data = $dir/mgr
mgr_initial_modules =
mgr_stats_period = 1

[client]
admin_socket =
log_file =
CONF
  [ -z "${FAST:-}" ] || sed -i \
    -e '/^\[mon\]/a paxos_propose_interval = 0.02\npaxos_min_wait = 0.01' \
    -e '/^\[mgr\]/a mgr_disabled_modules = balancer,crash,devicehealth,orchestrator,progress,rbd_support,telemetry,volumes,status' \
    -e '/^\[osd\]/a osd_objectstore = memstore\nmemstore_device_bytes = 4294967296\nosd_client_watch_timeout = 5' "$dir/ceph.conf"
}

# All keys are in the mon's first keyring, which saves a `ceph auth` each.
make_keys() {
  local all=$dir/all.keyring name pool caps=
  for pool in "${pools[@]}"; do caps="$caps${caps:+, }profile rbd pool=$pool"; done
  key mon. --cap mon 'allow *'
  key client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' --cap mds 'allow *'
  for name in "${users[@]}"; do key "client.$name" --cap mon 'profile rbd' --cap osd "$caps"; done
  key osd.0 --cap mon 'allow profile osd' --cap osd 'allow *' --cap mgr 'allow profile osd'
  key mgr.x --cap mon 'allow profile mgr' --cap osd 'allow *'
  for name in mon. client.admin "${users[@]/#/client.}" osd.0 mgr.x; do cat "$dir/$name.keyring"; done >"$all"
}

key() {
  ceph-authtool --create-keyring "$dir/$1.keyring" --gen-key -n "$@" >/dev/null
}

start_mon() {
  daemon mon ceph-mon -i a
  local n
  for n in $(seq 600); do
    [ ! -S "$dir/run/mon.asok" ] || return 0
    runs mon || die "the mon ended: $(tail -3 "$dir/log/mon.out")"
    sleep 0.1
  done
  die "the mon did not start; see $dir/log"
}

start_mgr() { daemon mgr ceph-mgr -i x; }

start_osd() {
  if [ ! -e "$dir/osd/fsid" ] || [ -e "$dir/fast" ]; then
    find "$dir/osd" -mindepth 1 -delete
    local uuid
    uuid=$(cat /proc/sys/kernel/random/uuid)
    admin osd new "$uuid" 0 >/dev/null
    "${user[@]}" ceph-osd -i 0 -c "$dir/ceph.conf" --mkfs --osd-uuid "$uuid" >"$dir/log/mkfs-osd" 2>&1 ||
      die "ceph-osd --mkfs failed: $(tail -3 "$dir/log/mkfs-osd")"
  fi
  daemon osd ceph-osd -i 0
}

# daemon TYPE PROGRAM ARGS...: starts it in the background, unless it runs.
daemon() {
  local type=$1
  shift
  ! runs "$type" || return 0
  rm -f "$dir/run/$type.pid" "$dir/run/$type.asok"
  setsid "${user[@]}" "$@" -f -c "$dir/ceph.conf" >"$dir/log/$type.out" 2>&1 8>&- 9>&- </dev/null &
  echo $! >"$dir/run/$type.started"
  until_known "$type"
}

# A process that was just forked still has the command line of this script: it is known once it runs its own program, or
# has ended.
until_known() {
  local n
  for n in $(seq 3000); do
    ! runs "$1" && kill -0 "$(cat "$dir/run/$1.started")" 2>/dev/null || return 0
    sleep 0.01
  done
}

# A daemon is known by its process and that it was started on our ceph.conf.
runs() {
  local pid
  pid=$(cat "$dir/run/$1.started" 2>/dev/null) || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "-c $dir/ceph.conf"
}

admin() { timeout 40 ceph -c "$dir/ceph.conf" --connect-timeout 30 "$@" 2>>"$dir/log/admin"; }

answers() { [ -n "$(timeout 20 ceph -c "$dir/ceph.conf" --connect-timeout 10 osd stat 2>/dev/null)" ]; }

# One `ceph` for all: each costs half a second of Python.
make_pools() {
  {
    echo "osd set-require-min-compat-client mimic"
    for pool in "${pools[@]}"; do
      echo "osd pool create $pool 32"
      echo "osd pool application enable $pool rbd"
    done
  } | admin >>"$dir/log/admin"
}

wait_for_osd() {
  local n
  for n in $(seq 300); do
    [[ $(admin osd stat) != *" 1 up"* ]] || return 0
    runs osd || die "the OSD ended: $(tail -3 "$dir/log/osd.out")"
    sleep 0.2
  done
  die "the OSD did not come up; see $dir/log"
}

wait_for_mgr() {
  local n
  for n in $(seq 300); do
    [[ $(admin mgr stat) != *'"available": true'* ]] || return 0
    runs mgr || die "the mgr ended: $(tail -3 "$dir/log/mgr.out")"
    sleep 0.2
  done
  die "the mgr did not come up; see $dir/log"
}

status() {
  local type
  for type in mon osd mgr; do
    runs $type || { echo "$dir: no $type runs"; return 1; }
  done
  echo "$dir: mon, osd and mgr run; conf $dir/ceph.conf"
}

send() { # send TYPE SIGNAL
  runs "$1" || die "no $1 runs in $dir"
  kill "-$2" "$(cat "$dir/run/$1.started")"
}

# stop TYPE SIGNAL: returns once the daemon has ended.
stop() {
  local pid n
  runs "$1" || return 0
  pid=$(cat "$dir/run/$1.started")
  kill "-$2" "$pid" 2>/dev/null || return 0
  for n in $(seq 100); do
    runs "$1" || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
  for n in $(seq 600); do
    runs "$1" || return 0
    sleep 0.1
  done
  die "$1 does not end"
}

down() {
  stop mgr KILL # it has no state, and takes seconds to end by itself
  stop osd TERM
  stop mon TERM
}

wipe() {
  down
  rm -rf "$dir" "$dir.lock"
}

main "$@"
