#!/usr/bin/env bash
# A lab of Keystone, Glance and Cinder on this machine's loopback, on a Ceph cluster of one node, from
# Debian's packages: for tests, benchmarks and `make run BACKEND=openstack`. As root. Everything it writes
# lies in one directory; it reads a few unchanged files of the packages (paste and rootwrap configuration)
# and touches no service of the machine.
#
#   lab.sh up       makes the lab, or starts what is missing of it
#   lab.sh down     stops it; databases, volumes and images stay for the next up
#   lab.sh wipe     stops it and removes the directory
#   lab.sh status   says what runs; exit 0 when all does
#   lab.sh env      prints the variables with which clients reach it (eval "$(lab.sh env)")
#   lab.sh start|stop|kill|pause|resume|restart SERVICE   for tests of outages; kill is SIGKILL to the
#                   service and its children. SERVICE: mariadb memcached epmd rabbitmq keystone glance
#                   cinder-api cinder-scheduler cinder-volume cinder-volume-a cinder-volume-b; and glance-cached, which
#                   up leaves out: a second Glance on the same database and stores, with its image cache and the cache's API on
#   lab.sh hook SOCKET|off [KEY=VALUE...]   puts clonecache's hook before the drivers, or takes it away, and
#                   restarts cinder-volume; keys are clonecache_... and go into each backend's section, and
#                   those of the form SECTION/KEY=VALUE into that section
#   lab.sh controllers SOCKET SOCKET|off   puts two cinder-volumes of one cluster, cinder-volume-a and -b, each with a
#                   host and a socket of clonecache of its own, in the place of cinder-volume, on rbd1 alone; or takes
#                   them away again
#   lab.sh cluster VERB...   e2e/ceph/cluster.sh on the lab's cluster (osd-pause, ceph df, ...)
#   lab.sh run PROGRAM...    runs it with the variables of `env`
#
#   LAB_DIR=DIR   default /tmp/cclab; at most 40 bytes, for the unix sockets in it
#   LAB_PORT=N    Keystone N, Glance N+1, Cinder N+2, RabbitMQ N+3 to N+5, memcached N+6, glance-cached N+7,
#                 Ceph N+100 to N+130; default 7300
#   DIRECT_URL=1  Glance shows where images lie (on `up` and `restart glance`; 0 hides it again)
#   GLANCE_STORE=file|rbd   where new images go unless the upload names a store; default file
#   GLANCE_WORKERS=N        processes that answer for Glance; default 1
#   CINDER_DRIVER_RBD, CINDER_DRIVER_NFS   classes of the volume drivers; default Cinder's own
#   CINDER_PYTHONPATH   folders for the services' PYTHONPATH, before plugin/cinder of this checkout
#   CINDER_CACHE=1      Cinder's own image-volume cache is on
#   TOKEN_SECONDS=N     life of Keystone's tokens, default 3600 (on `up` and `restart keystone`)
# What is set is remembered for later starts. Files DIR/cinder.d/*.conf are read after cinder.conf, in order.
#
# Cinder has a volume type and a backend each of the name rbd1 (pool volumes), rbd2 (pool volumes2), nfs1 (a
# share on XFS, with reflinks) and nfs2 (a share on the filesystem of DIR). Where the kernel has no NFS,
# shares are bind mounts: bin/mount in DIR does that for Cinder's unchanged NFS driver.
# Projects and users, password "secret": admin; demo and other (role member); cinder-internal (role member
# in the project cinder-internal, nothing else): see clouds.yaml in DIR, whose clouds have these names.
# Pools of Ceph: volumes, volumes2, images (Glance's). Users: client.cinder, client.glance and
# client.clonecache, with nothing but `profile rbd` on them.
set -euo pipefail
export PATH="/usr/bin:/bin:/usr/sbin:/sbin"
export LC_ALL=C.UTF-8

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
dir=${LAB_DIR:-/tmp/cclab}
port=${LAB_PORT:-7300}
settings="DIRECT_URL GLANCE_STORE GLANCE_WORKERS CINDER_DRIVER_RBD CINDER_DRIVER_NFS CINDER_PYTHONPATH CINDER_CACHE TOKEN_SECONDS"
backends=(rbd1 rbd2 nfs1 nfs2)
services="mariadb memcached epmd rabbitmq keystone glance cinder-api cinder-scheduler cinder-volume"
controllers="cinder-volume-a cinder-volume-b"
others="$controllers glance-cached" # which up does not start

export CEPH_DIR=$dir/ceph CEPH_PORT=$((port + 100))
export CEPH_POOLS="volumes volumes2 images" CEPH_USERS="cinder glance clonecache"

die() { printf 'lab.sh: %s\n' "$*" >&2; exit 1; }
say() { printf '%s\n' "$*" >&2; }

. "$here/services.sh"
. "$here/configure.sh"

main() {
  case $dir in /*) ;; *) die "LAB_DIR=$dir must be an absolute path" ;; esac
  [ ${#dir} -le 40 ] || die "LAB_DIR=$dir is longer than 40 bytes, too long for unix sockets in it"
  case ${1:-} in
    up) needs && with_lock up ;;
    down) with_lock down ;;
    wipe) with_lock wipe ;;
    status) status ;;
    env) client_env ;;
    start | stop | kill | pause | resume | restart)
      case " $services $others " in *" ${2:-} "*) ;; *) die "$1: which of: $services $others" ;; esac
      with_lock "$1" "$2"
      ;;
    hook) with_lock hook "${@:2}" ;;
    controllers) with_lock controllers "${@:2}" ;;
    cluster) exec "$top/e2e/ceph/cluster.sh" "${@:2}" ;;
    run) eval "$(client_env)"; exec "${@:2}" ;;
    *) die "usage: lab.sh up|down|wipe|status|env|start|stop|kill|pause|resume|restart|hook|controllers|cluster|run; see its first lines" ;;
  esac
}

needs() {
  local tool missing=()
  [ "$(id -u)" = 0 ] || die "the lab needs root"
  for tool in mariadbd mariadb-install-db memcached epmd uwsgi keystone-manage glance-api cinder-api cinder-volume openstack \
    /usr/lib/rabbitmq/bin/rabbitmq-server mkfs.xfs qemu-img ceph-mon; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  [ ${#missing[@]} = 0 ] || die "not installed: ${missing[*]}. Run e2e/install.sh openstack as root."
}

with_lock() {
  mkdir -p "$dir"
  exec 7>"$dir.lock"
  flock -w 300 7 || die "another lab.sh works on $dir"
  "$@"
}

up() {
  chmod 0755 "$dir"
  mkdir -p "$dir"/{log,run,bin,db,etc,rabbitmq,keystone,glance/{images,tmp},cinder/{conv,coord,locks},cinder.d,nfs/{mnt,nfs1,nfs2}}
  remember_settings
  configure
  export_shares
  "$top/e2e/ceph/cluster.sh" up 7>&- &
  local ceph=$!
  { start epmd && start rabbitmq; } &
  local rabbit=$!
  start memcached
  make_databases
  start keystone
  wait $rabbit || die "RabbitMQ did not start; see $dir/log"
  [ -e "$dir/accounts" ] || make_accounts
  wait $ceph || die "the Ceph cluster did not start"
  start glance & start cinder-api & start cinder-scheduler & start cinder-volume &
  wait
  status >/dev/null || { status; die "not everything started; see $dir/log"; }
  "$here/accounts.py" types "$dir"
}

make_databases() {
  [ -e "$dir/db/made" ] || mariadb-install-db --defaults-file="$dir/etc/my.cnf" --user=root \
    --auth-root-authentication-method=normal --skip-test-db >"$dir/log/mariadb-install" 2>&1 ||
    die "mariadb-install-db failed: $(tail -3 "$dir/log/mariadb-install")"
  start mariadb
  [ ! -e "$dir/db/made" ] || return 0
  mariadb --no-defaults -uroot -S "$dir/run/db.sock" -e \
    'CREATE DATABASE IF NOT EXISTS keystone; CREATE DATABASE IF NOT EXISTS glance; CREATE DATABASE IF NOT EXISTS cinder'
  local pids=() pid
  { keystone_manage db_sync && keystone_manage fernet_setup --keystone-user root --keystone-group root && keystone_manage bootstrap \
    --bootstrap-password secret --bootstrap-region-id lab --bootstrap-internal-url "http://127.0.0.1:$port/v3" \
    --bootstrap-public-url "http://127.0.0.1:$port/v3"; } >"$dir/log/keystone-db" 2>&1 & pids+=($!)
  glance-manage --config-file "$dir/etc/glance.conf" db_sync >"$dir/log/glance-db" 2>&1 & pids+=($!)
  cinder-manage --config-file "$dir/etc/cinder.conf" db sync >"$dir/log/cinder-db" 2>&1 & pids+=($!)
  for pid in "${pids[@]}"; do wait "$pid" || die "a schema was not made: $(tail -n 3 "$dir"/log/*-db)"; done
  : >"$dir/db/made"
}

keystone_manage() { keystone-manage --config-file "$dir/etc/keystone.conf" "$@"; }

# Keystone has what bootstrap made; the rest is ours. Cinder learns the internal tenant's IDs from it.
make_accounts() {
  "$here/accounts.py" accounts "$dir" "$port"
  : >"$dir/accounts"
}

hook() {
  [ -n "${1:-}" ] || die "hook: which socket?"
  mkdir -p "$dir/cinder.d"
  write_hook "$@"
  ! runs cinder-volume || restart cinder-volume
}

# Cinder would go on to choose a cinder-volume that is stopped, until it has not heard of it for a minute.
controllers() {
  local service
  [ $# = 2 ] || [ "${1:-}" = off ] || die "controllers: which two sockets?"
  for service in $controllers; do stop $service; done
  if [ "$1" = off ]; then
    for service in lab-a@rbd1 lab-b@rbd1; do cinder-manage --config-file "$dir/etc/cinder.conf" service remove cinder-volume $service || true; done
    start cinder-volume
    return
  fi
  write_controller a "$1"
  write_controller b "$2"
  stop cinder-volume
  for service in "${backends[@]}"; do cinder-manage --config-file "$dir/etc/cinder.conf" service remove cinder-volume "lab@$service" || true; done
  for service in $controllers; do start $service; done
}

down() {
  local service
  for service in $others cinder-volume cinder-scheduler cinder-api glance keystone rabbitmq epmd; do stop $service & done
  wait
  stop memcached
  stop mariadb
  "$top/e2e/ceph/cluster.sh" down
  unexport_shares
}

wipe() {
  down
  rm -rf "$dir" "$dir.lock"
}

status() {
  local service answer=0
  for service in $services; do
    if runs $service; then echo "$service runs (log $dir/log/$service.log)"; else echo "$service does not run"; answer=1; fi
  done
  "$top/e2e/ceph/cluster.sh" status || answer=1
  return $answer
}

client_env() {
  cat <<ENV
export OS_CLIENT_CONFIG_FILE=$dir/clouds.yaml OS_CLOUD=\${OS_CLOUD:-demo}
export LAB_DIR=$dir LAB_PORT=$port CEPH_DIR=$CEPH_DIR CEPH_CONF=$CEPH_DIR/ceph.conf
ENV
}

main "$@"
