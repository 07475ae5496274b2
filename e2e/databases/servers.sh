#!/usr/bin/env bash
# MariaDB, a Galera cluster of three nodes and PostgreSQL on this machine's loopback, from Debian's packages, for the
# tests of the catalog. Everything they write lies in one directory, and they touch no other instance:
# /var/lib/mysql, /var/lib/postgresql and what systemd starts are neither read nor written.
#
#   servers.sh up      makes the servers and starts them, or finds that they run
#   servers.sh down    stops them; what they hold stays for the next up
#   servers.sh wipe    stops them and removes the directory
#   servers.sh status  says whether they all run (exit 0) or not (exit 1)
#   servers.sh env     prints the variables that name them, one NAME=VALUE a line
#   servers.sh stop NAME | kill NAME | start NAME    of mariadb, galera1, galera2, galera3 or postgres, for tests of outages
#
#   DATABASES_DIR=DIR   default /tmp/clonecache-databases-UID; at most 70 bytes, for its unix sockets
#   DATABASES_PORT=N    the first of 16 ports, default 32600
#   DATABASES=NAMES     which of "mariadb galera postgres"; default: all
#
# As root the servers run as the users mysql and postgres. They are for tests: nothing is synced, so that a loss of
# power loses them. Their user clonecache may make databases; its password is in DIR/password, and mariadb and postgres
# have certificates of DIR/ca.pem.
set -euo pipefail
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

dir=${DATABASES_DIR:-/tmp/clonecache-databases-$(id -u)}
port=${DATABASES_PORT:-32600}
which=${DATABASES:-mariadb galera postgres}
password=loopback-only
export TMPDIR=$dir/tmp # the caller's may be closed to the servers' users
pgbin=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -1 || true)

die() { printf 'servers.sh: %s\n' "$*" >&2; exit 1; }

main() {
  case $dir in /*) ;; *) die "DATABASES_DIR=$dir must be an absolute path" ;; esac
  [ ${#dir} -le 70 ] || die "DATABASES_DIR=$dir is longer than 70 bytes, too long for unix sockets in it"
  case ${1:-} in
    up) packages && with_lock up ;;
    down) with_lock down ;;
    wipe) with_lock wipe ;;
    status) status ;;
    env) print_env ;;
    stop) end "$2" TERM ;;
    kill) end "$2" KILL ;;
    start) start "$2" && wait_for "$2" ;;
    *) die "usage: servers.sh up|down|wipe|status|env|stop NAME|kill NAME|start NAME; see its first lines" ;;
  esac
}

packages() {
  local program missing=()
  for program in mariadbd mariadb-install-db openssl setpriv; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  [ -n "$pgbin" ] || missing+=(postgres)
  compgen -G '/usr/lib/galera/libgalera_smm.so' >/dev/null || missing+=(galera-4)
  [ ${#missing[@]} = 0 ] || die "not installed: ${missing[*]}. Run e2e/install.sh databases as root (mariadb-server, galera-4, postgresql)."
}

with_lock() {
  mkdir -p "$dir"
  exec 8>"$dir.lock"
  flock -w 120 8 || die "another servers.sh works on $dir"
  "$1"
}

names() {
  local name
  for name in $which; do
    if [ "$name" = galera ]; then echo galera1 galera2 galera3; else echo "$name"; fi
  done
}

port_of() {
  case $1 in
    mariadb) echo "$port" ;;
    galera*) echo $((port + ${1#galera})) ;;
    postgres) echo $((port + 4)) ;;
    *) die "no server is called $1" ;;
  esac
}

group_port() { echo $((port + 4 + 3 * ${1#galera} - 2)); } # and the one above it, for state transfers

# as runs a command without privileges.
as() { # as mysql|postgres COMMAND...
  local user=$1
  shift
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid "$user" --regid "$user" --init-groups "$@" 8>&-
  else
    "$@" 8>&-
  fi
}

owned_by() { # owned_by USER DIR...
  local user=$1
  shift
  mkdir -p "$@"
  [ "$(id -u)" != 0 ] || chown -R "$user:$user" "$@"
}

up() {
  if status >/dev/null; then return 0; fi
  chmod 0755 "$dir"
  mkdir -p -m 1777 "$TMPDIR"
  local name
  [ -e "$dir/ca.pem" ] || certificates
  printf '%s' "$password" >"$dir/password"
  chmod 0640 "$dir/password"
  for name in $(names); do
    [ -e "$dir/$name/made" ] || make_"${name%%[0-9]}" "$name"
  done
  for name in $(names); do
    running "$name" || start "$name"
  done
  for name in $(names); do
    wait_for "$name"
  done
}

certificates() {
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=clonecache-test-ca -keyout "$dir/ca.key" -out "$dir/ca.pem" 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$dir/server.key" -out "$dir/server.csr" 2>/dev/null
  openssl x509 -req -in "$dir/server.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial -days 30 -out "$dir/server.pem" \
    -extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1") 2>/dev/null
}

own_certificate() { # own_certificate USER DIR
  cp "$dir/server.key" "$dir/server.pem" "$dir/ca.pem" "$2"
  chmod 0600 "$2/server.key"
  [ "$(id -u)" != 0 ] || chown "$1:$1" "$2"/*.pem "$2/server.key"
}

# template makes a data directory once, of which each server gets a copy.
template() {
  [ ! -e "$dir/template/made" ] || return 0
  rm -rf "$dir/template"
  owned_by mysql "$dir/template"
  as mysql mariadb-install-db --no-defaults --datadir="$dir/template" --auth-root-authentication-method=normal --skip-test-db \
    --innodb-log-file-size=16M --innodb-flush-log-at-trx-commit=0 >"$dir/template.log" 2>&1 ||
    die "mariadb-install-db failed: $(cat "$dir/template.log")"
  touch "$dir/template/made"
}

make_mariadb() {
  template
  owned_by mysql "$dir/$1"
  as mysql cp -r "$dir/template" "$dir/$1/data"
  own_certificate mysql "$dir/$1"
  mysql_conf "$1" "
ssl_cert = $dir/$1/server.pem
ssl_key = $dir/$1/server.key"
  touch "$dir/$1/made"
}

# Nodes begin with equal copies of one state, so that none needs a transfer of all of it. Written to on several nodes at once,
# MariaDB 10.11 at times does not end a local transaction that is in the way of what another node has committed: it waits for
# that until innodb_lock_wait_timeout (50 s, and our own sessions say another one) and meanwhile stops the others by flow control.
make_galera() {
  template
  owned_by mysql "$dir/$1"
  local at
  at=$(group_port "$1")
  mysql_conf "$1" "
binlog_format = ROW
default_storage_engine = InnoDB
innodb_autoinc_lock_mode = 2
wsrep_on = ON
wsrep_provider = /usr/lib/galera/libgalera_smm.so
wsrep_cluster_name = clonecache-test
wsrep_cluster_address = gcomm://127.0.0.1:$(group_port galera1),127.0.0.1:$(group_port galera2),127.0.0.1:$(group_port galera3)
wsrep_node_name = $1
wsrep_node_address = 127.0.0.1:$at
wsrep_sst_method = rsync
wsrep_sst_receive_address = 127.0.0.1:$((at + 2))
innodb_lock_wait_timeout = 2
wsrep_slave_threads = 2
wsrep_provider_options = \"gmcast.listen_addr=tcp://127.0.0.1:$at;ist.recv_addr=127.0.0.1:$((at + 1));gcache.size=16M;gcs.fc_limit=100000;pc.recovery=false\""
  if [ "$1" = galera1 ]; then
    as mysql cp -r "$dir/template" "$dir/$1/data"
    start_node galera1
    end galera1 TERM
  else
    as mysql cp -r "$dir/galera1/data" "$dir/$1/data"
    rm "$dir/$1/data/galera.cache"
  fi
  touch "$dir/$1/made"
}

mysql_conf() { # mysql_conf NAME MORE
  cat >"$dir/$1/init.sql" <<SQL
CREATE USER IF NOT EXISTS clonecache@'127.0.0.1' IDENTIFIED BY '$password';
GRANT ALL ON *.* TO clonecache@'127.0.0.1';
CREATE USER IF NOT EXISTS clonecache@localhost IDENTIFIED BY '$password';
GRANT ALL ON *.* TO clonecache@localhost;
SQL
  cat >"$dir/$1/my.cnf" <<CONF
[mariadbd]
datadir = $dir/$1/data
socket = $dir/$1/socket
pid_file = $dir/$1/pid
log_error = $dir/$1/log.err
port = $(port_of "$1")
bind_address = 127.0.0.1
skip_name_resolve
performance_schema = OFF
innodb_buffer_pool_size = 128M
innodb_log_file_size = 16M
innodb_flush_log_at_trx_commit = 0
innodb_flush_method = nosync
innodb_doublewrite = 0
innodb_stats_persistent = 0
character_set_server = latin1$2
CONF
}

make_postgres() {
  owned_by postgres "$dir/$1" "$dir/$1/run"
  printf '%s\n' "$password" >"$dir/$1/pwfile"
  as postgres "$pgbin/initdb" -D "$dir/$1/data" -U postgres --auth=scram-sha-256 --pwfile="$dir/$1/pwfile" --locale=C.UTF-8 --no-sync \
    >"$dir/$1/initdb.log" 2>&1 || die "initdb failed: $(cat "$dir/$1/initdb.log")"
  own_certificate postgres "$dir/$1"
  cat >>"$dir/$1/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $(port_of "$1")
unix_socket_directories = '$dir/$1/run'
fsync = off
full_page_writes = off
synchronous_commit = off
max_connections = 300
ssl = on
ssl_cert_file = '$dir/$1/server.pem'
ssl_key_file = '$dir/$1/server.key'
CONF
  touch "$dir/$1/made"
}

pid_of() {
  if [ "$1" = postgres ]; then head -1 "$dir/$1/data/postmaster.pid" 2>/dev/null; else cat "$dir/$1/pid" 2>/dev/null; fi
}

running() {
  local pid
  pid=$(pid_of "$1") && [ -n "$pid" ] && [ -d "/proc/$pid" ]
}

start() {
  case $1 in
    postgres) as postgres setsid "$pgbin/postgres" -D "$dir/$1/data" >>"$dir/$1/log" 2>&1 8>&- & ;;
    mariadb) as mysql setsid mariadbd --defaults-file="$dir/$1/my.cnf" --init-file="$dir/$1/init.sql" >/dev/null 2>&1 8>&- & ;;
    galera*) start_node "$1" ;;
  esac
}

# The first node that starts makes the cluster, the others join it.
start_node() {
  local other
  for other in galera1 galera2 galera3; do
    if [ "$other" != "$1" ] && running "$other"; then
      as mysql setsid mariadbd --defaults-file="$dir/$1/my.cnf" >/dev/null 2>&1 8>&- &
      return 0
    fi
  done
  [ ! -e "$dir/$1/data/grastate.dat" ] || sed -i 's/safe_to_bootstrap: 0/safe_to_bootstrap: 1/' "$dir/$1/data/grastate.dat"
  as mysql setsid mariadbd --defaults-file="$dir/$1/my.cnf" --init-file="$dir/$1/init.sql" --wsrep-new-cluster >/dev/null 2>&1 8>&- &
  wait_for "$1"
}

ready() {
  case $1 in
    postgres) PGPASSWORD=$password "$pgbin/psql" -h 127.0.0.1 -p "$(port_of "$1")" -U postgres -c 'SELECT 1' >/dev/null 2>&1 ;;
    mariadb) mariadb --no-defaults -h 127.0.0.1 -P "$(port_of "$1")" -u clonecache -p"$password" -e 'SELECT 1' >/dev/null 2>&1 ;;
    galera*) [ "$(mariadb --no-defaults -h 127.0.0.1 -P "$(port_of "$1")" -u clonecache -p"$password" -N -e 'SHOW STATUS LIKE "wsrep_local_state_comment"' 2>/dev/null)" = $'wsrep_local_state_comment\tSynced' ] ;;
  esac
}

wait_for() {
  local deadline=$((SECONDS + 180))
  until ready "$1"; do
    [ $SECONDS -lt $deadline ] || die "$1 does not answer: $(tail -n 5 "$dir/$1"/log*)"
    sleep 0.1
  done
}

end() { # end NAME SIGNAL
  local pid
  pid=$(pid_of "$1") && [ -n "$pid" ] && [ -d "/proc/$pid" ] || return 0
  [ "$1" != postgres ] || [ "$2" != TERM ] || set -- "$1" INT # a fast shutdown: sessions end
  kill -"$2" "$pid" 2>/dev/null || return 0
  local deadline=$((SECONDS + 120))
  while [ -d "/proc/$pid" ]; do
    [ $SECONDS -lt $deadline ] || kill -KILL "$pid" 2>/dev/null || true
    sleep 0.05
  done
}

down() {
  local name
  for name in mariadb galera3 galera2 galera1 postgres; do
    [ ! -e "$dir/$name" ] || end "$name" TERM
  done
}

wipe() {
  down
  rm -rf "$dir" "$dir.lock"
}

status() {
  local name code=0
  for name in $(names); do
    if running "$name" && ready "$name"; then echo "$name runs"; else echo "$name does not run" && code=1; fi
  done
  return $code
}

print_env() {
  local name
  for name in $which; do
    case $name in
      mariadb) echo "CLONECACHE_TEST_MARIADB=mysql://clonecache@127.0.0.1:$(port_of mariadb)/" ;;
      galera) echo "CLONECACHE_TEST_GALERA=mysql://clonecache@127.0.0.1:$(port_of galera1),127.0.0.1:$(port_of galera2),127.0.0.1:$(port_of galera3)/" ;;
      postgres) echo "CLONECACHE_TEST_POSTGRES=postgres://postgres@127.0.0.1:$(port_of postgres)/" ;;
    esac
  done
  echo "CLONECACHE_TEST_PASSWORD_FILE=$dir/password"
  echo "CLONECACHE_TEST_CA_FILE=$dir/ca.pem"
}

main "$@"
