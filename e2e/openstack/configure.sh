# Part of lab.sh: writes the configuration of every service below $dir/etc, and programs that stand in for
# others on the services' PATH below $dir/bin.

# put FILE [MODE] makes standard input FILE, at once: services that start side by side write all files anew, and one
# would read what another has just begun.
put() {
  local new=$1.$BASHPID
  cat >"$new" && chmod "${2:-0644}" "$new" && mv -f "$new" "$1"
}

# Settings given now win over those of an earlier start, and are remembered.
remember_settings() {
  local name
  for name in $settings; do
    if [ -n "${!name+set}" ]; then printf '%s\n' "${!name}" | put "$dir/etc/set.$name"; continue; fi
    [ ! -e "$dir/etc/set.$name" ] || declare -g "$name=$(cat "$dir/etc/set.$name")"
  done
}

configure() {
  write_mariadb
  write_rabbitmq
  write_keystone
  write_glance
  write_cinder
  write_backends
  write_programs
}

database() { echo "mysql+pymysql://root@localhost/$1?unix_socket=$dir/run/db.sock&charset=utf8"; }

# A lab's database need not survive a power cut.
write_mariadb() {
  put "$dir/etc/my.cnf" <<CONF
[mariadbd]
datadir=$dir/db
socket=$dir/run/db.sock
pid-file=$dir/run/db.pid
skip-networking
skip-name-resolve
max_connections=500
innodb_flush_log_at_trx_commit=0
innodb_doublewrite=0
innodb_buffer_pool_size=128M
innodb_log_file_size=64M
character-set-server=utf8mb4
CONF
}

write_rabbitmq() {
  echo '[].' | put "$dir/etc/plugins"
  put "$dir/etc/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$((port + 3))
default_user = lab
default_pass = secret
disk_free_limit.absolute = 100MB
CONF
}

write_keystone() {
  put "$dir/etc/keystone.conf" <<CONF
[DEFAULT]
log_file =
use_stderr = true
[database]
connection = $(database keystone)
[token]
provider = fernet
expiration = ${TOKEN_SECONDS:-3600}
allow_expired_window = 172800
[fernet_tokens]
key_repository = $dir/keystone/keys
[fernet_receipts]
key_repository = $dir/keystone/keys
[credential]
key_repository = $dir/keystone/keys
[identity]
password_hash_rounds = 4
[cache]
enabled = true
backend = oslo_cache.memcache_pool
memcache_servers = 127.0.0.1:$((port + 6))
[oslo_policy]
policy_dirs = /nonexistent
CONF
}

# auth_keys USER prints the keys with which a service proves itself to Keystone.
auth_keys() {
  cat <<CONF
auth_type = password
auth_url = http://127.0.0.1:$port/v3
username = $1
password = secret
project_name = service
user_domain_id = default
project_domain_id = default
CONF
}

auth_section() {
  cat <<CONF
[keystone_authtoken]
www_authenticate_uri = http://127.0.0.1:$port/v3
service_token_roles = service
service_token_roles_required = true
memcached_servers = 127.0.0.1:$((port + 6))
$(auth_keys "$1")
CONF
}

write_glance() {
  glance_conf $((port + 1)) keystone cache | put "$dir/etc/glance.conf"
  glance_conf $((port + 7)) keystone+cachemanagement glance-cached | put "$dir/etc/glance-cached.conf"
}

# glance_conf PORT FLAVOR CACHE: FLAVOR is that of its pipeline, CACHE the name of the folder of its image cache.
glance_conf() {
  local shown=false
  [ "${DIRECT_URL:-0}" != 1 ] || shown=true
  cat <<CONF
[DEFAULT]
bind_host = 127.0.0.1
bind_port = $1
workers = ${GLANCE_WORKERS:-1}
transport_url = rabbit://lab:secret@127.0.0.1:$((port + 3))/
enabled_backends = file:file, rbd:rbd
show_image_direct_url = $shown
show_multiple_locations = $shown
node_staging_uri = file://$dir/glance/tmp
image_cache_dir = $dir/glance/$3
[database]
connection = $(database glance)
[glance_store]
default_backend = ${GLANCE_STORE:-file}
[file]
filesystem_store_datadir = $dir/glance/images
[rbd]
rbd_store_pool = images
rbd_store_user = glance
rbd_store_ceph_conf = $CEPH_DIR/ceph.conf
[os_glance_tasks_store]
filesystem_store_datadir = $dir/glance/tmp
[os_glance_staging_store]
filesystem_store_datadir = $dir/glance/tmp
$(auth_section glance)
[oslo_messaging_notifications]
driver = messagingv2
retry = 0
[paste_deploy]
config_file = /etc/glance/glance-api-paste.ini
flavor = $2
[oslo_policy]
policy_dirs = /nonexistent
[oslo_concurrency]
lock_path = $dir/glance/tmp
CONF
}

# The one key of all encrypted volumes.
fixed_key=$(printf '1b%.0s' {1..32})

write_cinder() {
  put "$dir/etc/cinder.conf" <<CONF
[DEFAULT]
transport_url = rabbit://lab:secret@127.0.0.1:$((port + 3))/
osapi_volume_listen = 127.0.0.1
osapi_volume_listen_port = $((port + 2))
osapi_volume_workers = 1
my_ip = 127.0.0.1
host = lab
state_path = $dir/cinder
image_conversion_dir = $dir/cinder/conv
api_paste_config = /etc/cinder/api-paste.ini
resource_query_filters_file = /etc/cinder/resource_filters.json
rootwrap_config = /etc/cinder/rootwrap.conf
glance_api_servers = http://127.0.0.1:$((port + 1))
allowed_direct_url_schemes =
enabled_backends = $(IFS=,; echo "${backends[*]}")
default_volume_type = rbd1
quota_volumes = -1
quota_gigabytes = -1
quota_snapshots = -1
quota_backups = -1
quota_backup_gigabytes = -1
[database]
connection = $(database cinder)
max_pool_size = 20
[key_manager]
backend = cinder.keymgr.conf_key_mgr.ConfKeyManager
fixed_key = $fixed_key
[coordination]
backend_url = file://$dir/cinder/coord
[oslo_concurrency]
lock_path = $dir/cinder/locks
[oslo_policy]
policy_dirs = /nonexistent
$(auth_section cinder)
[service_user]
send_service_user_token = true
$(auth_keys cinder)
CONF
}

# The backends lie in the folder that is read after cinder.conf, so that a later file there can add to them.
write_backends() {
  local cache=false
  [ "${CINDER_CACHE:-0}" != 1 ] || cache=true
  {
    rbd_backend rbd1 volumes
    rbd_backend rbd2 volumes2
    nfs_backend nfs1
    nfs_backend nfs2
  } | put "$dir/cinder.d/10-backends.conf"
}

common_keys() {
  cat <<CONF
volume_backend_name = $1
image_volume_cache_enabled = $cache
image_volume_cache_max_count = 0
image_volume_cache_max_size_gb = 0
CONF
}

rbd_backend() {
  cat <<CONF
[$1]
volume_driver = ${CINDER_DRIVER_RBD:-cinder.volume.drivers.rbd.RBDDriver}
rbd_pool = $2
rbd_user = cinder
rbd_ceph_conf = $CEPH_DIR/ceph.conf
rbd_cluster_name = ceph
rbd_exclusive_cinder_pool = true
$(common_keys "$1")
CONF
}

nfs_backend() {
  echo "127.0.0.1:/$1" | put "$dir/etc/shares.$1"
  cat <<CONF
[$1]
volume_driver = ${CINDER_DRIVER_NFS:-cinder.volume.drivers.nfs.NfsDriver}
nfs_shares_config = $dir/etc/shares.$1
nfs_mount_point_base = $dir/nfs/mnt
nfs_sparsed_volumes = true
nfs_qcow2_volumes = false
nfs_snapshot_support = true
nas_secure_file_operations = false
nas_secure_file_permissions = false
max_over_subscription_ratio = 50
$(common_keys "$1")
CONF
}

# write_hook SOCKET [KEY=VALUE...]: the hook's drivers and keys, read after the backends.
write_hook() {
  local conf=$dir/cinder.d/30-hook.conf backend pair class
  rm -f "$conf"
  [ "$1" != off ] || return 0
  for backend in "${backends[@]}"; do
    case $backend in rbd*) class=rbd.ClonecacheRBDDriver ;; nfs*) class=nfs.ClonecacheNFSDriver ;; esac
    printf '[%s]\nvolume_driver = clonecache_cinder.%s\nclonecache_socket = %s\n' "$backend" "$class" "$1"
    for pair in "${@:2}"; do [[ $pair == */* ]] || printf '%s = %s\n' "${pair%%=*}" "${pair#*=}"; done
  done >"$conf.new"
  for pair in "${@:2}"; do
    [[ $pair != */* ]] || { printf '[%s]\n' "${pair%%/*}"; pair=${pair#*/}; printf '%s = %s\n' "${pair%%=*}" "${pair#*=}"; }
  done >>"$conf.new"
  mv "$conf.new" "$conf"
}

# write_controller NAME SOCKET: what a cinder-volume of the cluster has of its own, read last.
write_controller() {
  put "$dir/etc/controller-$1.conf" <<CONF
[DEFAULT]
host = lab-$1
cluster = lab
enabled_backends = rbd1
[rbd1]
clonecache_socket = $2
CONF
}

# Everything is root already, so sudo and rootwrap only run what they are given.
write_programs() {
  put "$dir/bin/sudo" 0755 <<'SH'
#!/bin/sh
[ "$1" != cinder-rootwrap ] || shift 2
exec "$@"
SH
  put "$dir/bin/mount" 0755 <<SH
#!/bin/bash
# mount -t nfs [-o OPTIONS] 127.0.0.1:/SHARE FOLDER binds the share, which is a folder of this machine.
if [[ " \$* " == *" -t nfs "* ]]; then
  share=\${@:\$#-1:1} folder=\${@:\$#}
  exec /bin/mount --bind "$dir/nfs/\${share#*:/}" "\$folder"
fi
exec /bin/mount "\$@"
SH
  printf '#!/bin/sh\nexit 1\n' | put "$dir/bin/mount.nfs" 0755 # its presence is all that the driver asks for
}

export_shares() {
  local file=$dir/nfs/nfs1.xfs
  mountpoint -q "$dir/nfs/nfs1" && return 0
  if [ ! -e "$file" ]; then
    truncate -s 40G "$file.new"
    mkfs.xfs -q -m reflink=1 "$file.new"
    mv "$file.new" "$file"
  fi
  mount -o loop,noatime "$file" "$dir/nfs/nfs1"
}

unexport_shares() {
  local folder
  for folder in $(awk -v d="$dir/nfs/" 'index($2, d) == 1 { print $2 }' /proc/mounts | sort -r); do
    umount "$folder" || umount -l "$folder"
  done
}
