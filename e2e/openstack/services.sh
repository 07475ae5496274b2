# Part of lab.sh: how each service is started, found and stopped. A service is a session of its own, so
# that a signal reaches its children too; it is known by its first process, which was started on a file of
# the lab.

# command_of SERVICE sets $cmd, and $listens: what shows that it answers, a port, a unix socket, nothing, or
# for cinder-volume that it says so of each driver.
command_of() {
  local conf=$dir/etc
  case $1 in
    mariadb) cmd=(mariadbd --defaults-file="$conf/my.cnf" --user=root) listens=$dir/run/db.sock ;;
    memcached) cmd=(memcached -u nobody -l 127.0.0.1 -p $((port + 6)) -U 0 -m 32) listens=$((port + 6)) ;;
    epmd) cmd=(env ERL_EPMD_ADDRESS=127.0.0.1 epmd -port $((port + 5))) listens=$((port + 5)) ;;
    rabbitmq) cmd=(env "${rabbit_env[@]}" /usr/lib/rabbitmq/bin/rabbitmq-server) listens=$((port + 3)) ;;
    keystone)
      cmd=(env OS_KEYSTONE_CONFIG_FILES="$conf/keystone.conf" uwsgi --plugin python3 --master --die-on-term --need-app
        --http-socket "127.0.0.1:$port" --wsgi-file /usr/bin/keystone-wsgi-public --processes 2 --threads 4
        --enable-threads --buffer-size 65535 --lazy-apps --disable-logging --add-header "Connection: close" --pidfile "$dir/run/keystone.uwsgi")
      listens=$port
      ;;
    glance) cmd=(glance-api --config-file "$conf/glance.conf") listens=$((port + 1)) ;;
    glance-cached) cmd=(glance-api --config-file "$conf/glance-cached.conf") listens=$((port + 7)) ;;
    cinder-api) cmd=(cinder-api "${cinder_files[@]}") listens=$((port + 2)) ;;
    cinder-scheduler) cmd=(cinder-scheduler "${cinder_files[@]}") listens= ;;
    cinder-volume) cmd=(cinder-volume "${cinder_files[@]}") listens=drivers drivers=${#backends[@]} ;;
    cinder-volume-?) cmd=(cinder-volume "${cinder_files[@]}" --config-file "$conf/controller-${1##*-}.conf") listens=drivers drivers=1 ;;
  esac
}

cinder_files=(--config-file "$dir/etc/cinder.conf" --config-dir "$dir/cinder.d")

# Loopback only, and nothing from /etc/rabbitmq. RUNNING_UNDER_SYSTEMD makes its script exec the server.
rabbit_env=(
  HOME="$dir/rabbitmq" RUNNING_UNDER_SYSTEMD=true RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE="$dir/etc/rabbitmq"
  RABBITMQ_ADVANCED_CONFIG_FILE="$dir/etc/none" RABBITMQ_ENABLED_PLUGINS_FILE="$dir/etc/plugins"
  RABBITMQ_MNESIA_BASE="$dir/rabbitmq/mnesia" RABBITMQ_LOG_BASE="$dir/rabbitmq/log" RABBITMQ_LOGS=-
  RABBITMQ_NODENAME="lab$port@localhost" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$((port + 3))
  RABBITMQ_DIST_PORT=$((port + 4)) ERL_EPMD_PORT=$((port + 5)) ERL_EPMD_ADDRESS=127.0.0.1
  RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none -lab $dir"
)

start() {
  local service=$1 cmd listens drivers n
  command_of "$service"
  runs "$service" && { ready && return 0; } # else: on its way, or paused
  if ! runs "$service"; then
    ! taken || die "$service: somebody else listens on $listens; choose another LAB_PORT"
    remember_settings
    configure
    echo $(($(stat -c %s "$dir/log/$service.log" 2>/dev/null || echo 0) + 1)) >"$dir/run/$service.from"
    launch &
    echo $! >"$dir/run/$service.pid"
    disown
  fi
  for n in $(seq 1800); do
    ! ready || return 0
    command kill -0 "$(cat "$dir/run/$service.pid")" 2>/dev/null || die "$service ended: $(tail -n 5 "$dir/log/$service.log")"
    sleep 0.1
  done
  die "$service does not answer; see $dir/log/$service.log"
}

# ready: $listens answers. A service that listens nowhere is ready at once.
ready() {
  case $listens in
    "") runs "$service" ;;
    drivers)
      [ "$(tail -c "+$(cat "$dir/run/$service.from")" "$dir/log/$service.log" | grep -c 'post RPC initialization completed successfully')" -ge \
        "$drivers" ] && runs "$service"
      ;;
    /*) [ -S "$listens" ] && mariadb --no-defaults -uroot -S "$listens" -e 'SELECT 1' >/dev/null 2>&1 ;;
    *) (exec 3<>"/dev/tcp/127.0.0.1/$listens") 2>/dev/null ;;
  esac
}

# launch becomes the service. It inherits no file of the caller's, locks above all.
launch() {
  local fd
  for fd in /proc/$BASHPID/fd/*; do
    fd=${fd##*/}
    [ "$fd" -le 2 ] || eval "exec $fd>&-"
  done
  export PATH="$dir/bin:$PATH" PYTHONPATH HOME="$dir" CEPH_ARGS=
  PYTHONPATH=$(python_path)
  exec setsid "${cmd[@]}" >>"$dir/log/$service.log" 2>&1 </dev/null
}

taken() { [[ $listens == [0-9]* ]] && ready; }

python_path() {
  local path=$top/plugin/cinder
  [ -z "${CINDER_PYTHONPATH:-}" ] || path=$CINDER_PYTHONPATH:$path
  echo "$path"
}

# A process that still runs as ours: its session is its own, and its environment or command names the lab.
runs() {
  local pid
  pid=$(cat "$dir/run/$1.pid" 2>/dev/null) || return 1
  [ "$(ps -o sid= -p "$pid" 2>/dev/null | tr -d ' ')" = "$pid" ] || return 1
  case $(ps -o stat= -p "$pid") in Z*) return 1 ;; esac
  { tr '\0' ' ' <"/proc/$pid/environ"; tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qE "(^|[ =:])$dir[ /:]"
}

signal() { # signal SIGNAL SERVICE, to all of its session
  runs "$2" || die "no $2 runs in $dir"
  pkill "-$1" -s "$(cat "$dir/run/$2.pid")"
}

pause() { signal STOP "$1"; }
resume() { signal CONT "$1"; }

kill() {
  local pid
  runs "$1" || return 0
  pid=$(cat "$dir/run/$1.pid")
  pkill -KILL -s "$pid"
  gone "$pid" 60 || die "$1 does not end"
}

# stop SERVICE: returns once the last process of it has ended.
stop() {
  local pid
  runs "$1" || return 0
  pid=$(cat "$dir/run/$1.pid")
  signal CONT "$1"
  command kill -TERM "$pid" 2>/dev/null || true
  gone "$pid" || pkill -KILL -s "$pid" || true
  gone "$pid" 60 || die "$1 does not end"
}

# gone PID [SECONDS] waits, for 5 seconds at most or so many, until no process of its session is left; dead ones may still
# await their parent, and a killed one its disk.
gone() {
  local n
  for n in $(seq "${2:-5}0"); do
    [ -n "$(ps -o stat= -s "$1" | grep -v '^Z')" ] || return 0
    sleep 0.1
  done
  return 1
}

restart() {
  stop "$1"
  start "$1"
}
