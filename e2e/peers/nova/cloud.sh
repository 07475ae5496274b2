#!/usr/bin/env bash
# What the lab of e2e/openstack lacks for servers: placement, Neutron (without agents: servers have no network, and Nova
# asks it all the same), Nova and a libvirtd, on loopback. As root; the lab must be up. Everything that it writes lies below
# LAB_DIR/nova and LAB_DIR/log. libvirtd and what it starts see folders of LAB_DIR in the place of /etc/libvirt,
# /var/lib/libvirt and the like, no cgroups, and neither /dev/kvm nor a libvirtd of the machine.
#
#   cloud.sh up GLANCE_URL   makes their databases anew and starts them; Nova downloads images from GLANCE_URL
#   cloud.sh down            stops them, and every guest that is left
#
# Ports: LAB_PORT+20 nova-api, +21 placement, +22 Neutron.
set -euo pipefail
export PATH="/usr/bin:/bin:/usr/sbin:/sbin" LC_ALL=C.UTF-8

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../../.." && pwd)
dir=$LAB_DIR port=$LAB_PORT
settings='' backends=()
work=$dir/nova
services="libvirtd placement neutron nova-api nova-conductor nova-scheduler nova-compute"

die() { printf 'cloud.sh: %s\n' "$*" >&2; exit 1; }

. "$top/e2e/openstack/services.sh"
. "$top/e2e/openstack/configure.sh"
. "$here/configure.sh"

main() {
  case ${1:-} in
    up) up "${2:?which Glance}" ;;
    down) down ;;
    *) die "usage: cloud.sh up GLANCE_URL|down" ;;
  esac
}

# command_of, as that of the lab's services.
command_of() {
  case $1 in
    libvirtd) cmd=("$work/bin/inside" libvirtd --config "$work/libvirtd.conf" --pid-file "$work/libvirt/run/pid") listens=$libvirt_socket ;;
    placement)
      cmd=(env OS_PLACEMENT_CONFIG_DIR="$work" uwsgi --plugin python3 --master --die-on-term --need-app
        --http-socket "127.0.0.1:$((port + 21))" --wsgi-file /usr/bin/placement-api --processes 1 --threads 4 --enable-threads
        --buffer-size 65535 --lazy-apps --disable-logging --add-header "Connection: close" --pidfile "$work/placement.pid")
      listens=$((port + 21))
      ;;
    neutron) cmd=(neutron-server --config-file "$work/neutron.conf") listens=$((port + 22)) ;;
    nova-api) cmd=(nova-api --config-file "$work/nova.conf") listens=$((port + 20)) ;;
    nova-compute) cmd=("$work/bin/inside" nova-compute --config-file "$work/nova.conf") listens= ;;
    *) cmd=("$1" --config-file "$work/nova.conf") listens= ;;
  esac
}

configure() { :; } # up has done so

# ready, of a service that listens on a socket which is not a database's.
eval "lab_$(declare -f ready)"
ready() { if [[ $listens == /* ]]; then [ -S "$listens" ] && virsh_ version >/dev/null 2>&1; else lab_ready; fi; }

up() {
  glance_url=$1
  mkdir -p "$work"/{bin,instances,locks} "$work"/libvirt/{etc,lib,cache,log,run}
  write_all
  local pids=() pid
  "$here/accounts.py" accounts "$port" & pids+=($!)
  make_databases & pids+=($!)
  for pid in "${pids[@]}"; do wait "$pid" || die "databases or accounts were not made; see $dir/log/nova-db.log"; done
  start libvirtd & pids=($!)
  start placement & pids+=($!)
  start neutron & pids+=($!)
  start nova-conductor & pids+=($!)
  start nova-scheduler & pids+=($!)
  start nova-api & pids+=($!)
  for pid in "${pids[@]}"; do wait "$pid" || die "not everything started; see $dir/log"; done
  "$here/accounts.py" wake "$port"
  define_secret
  start nova-compute
  discover
}

make_databases() {
  local name pids=() pid
  for name in nova nova_api nova_cell0 placement neutron; do
    echo "DROP DATABASE IF EXISTS $name; CREATE DATABASE $name;"
  done | mariadb --no-defaults -uroot -S "$dir/run/db.sock"
  placement-manage --config-file "$work/placement.conf" db sync >"$dir/log/placement-db.log" 2>&1 & pids+=($!)
  neutron-db-manage --config-file "$work/neutron.conf" upgrade heads >"$dir/log/neutron-db.log" 2>&1 & pids+=($!)
  make_cell >"$dir/log/nova-db.log" 2>&1 & pids+=($!)
  for pid in "${pids[@]}"; do wait "$pid" || die "a schema was not made: $(tail -n 3 "$dir"/log/*-db.log)"; done
}

make_cell() {
  nova_manage api_db sync
  nova_manage cell_v2 map_cell0 --database_connection "$(database nova_cell0)"
  nova_manage db sync
  nova_manage cell_v2 create_cell --name cell1
}

nova_manage() { nova-manage --config-file "$work/nova.conf" "$@"; }

virsh_() { virsh --quiet --connect "qemu+unix:///system?socket=$libvirt_socket" "$@"; }

# QEMU opens volumes as Cinder's user.
define_secret() {
  local secret
  secret=$(cluster)
  cat >"$work/secret.xml" <<XML
<secret ephemeral='no' private='no'><uuid>$secret</uuid><usage type='ceph'><name>client.cinder</name></usage></secret>
XML
  virsh_ secret-define "$work/secret.xml" >"$work/secret.log" &&
    virsh_ secret-set-value "$secret" --base64 "$(awk '$1 == "key" { print $3 }' "$dir/ceph/client.cinder.keyring")" >>"$work/secret.log" 2>&1 ||
    die "libvirt takes no secret: $(tail -n 3 "$work/secret.log")"
}

# discover maps the host once nova-compute has told of itself.
discover() {
  local n
  for n in $(seq 60); do
    nova_manage cell_v2 discover_hosts --by-service --verbose >"$work/discover.log" 2>&1 || die "discover_hosts: $(tail -n 3 "$work/discover.log")"
    [ "$(mariadb --no-defaults -uroot -S "$dir/run/db.sock" -N -e 'SELECT count(*) FROM nova_api.host_mappings')" = 0 ] || return 0
    runs nova-compute || die "nova-compute ended: $(tail -n 5 "$dir/log/nova-compute.log")"
  done
  die "nova-compute does not tell of itself; see $dir/log/nova-compute.log"
}

# Guests are no children of libvirtd, and outlive it.
down() {
  local service file
  for service in nova-compute nova-scheduler nova-conductor nova-api neutron placement; do stop $service & done
  wait
  stop libvirtd
  for file in "$work"/libvirt/run/qemu/*.pid; do
    [ ! -e "$file" ] || ! grep -qF "$work/" "/proc/$(cat "$file")/cmdline" 2>/dev/null || command kill -KILL "$(cat "$file")" || true
  done
}

main "$@"
