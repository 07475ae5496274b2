# Part of cloud.sh: the configuration of placement, Neutron, Nova and libvirt below $work.
libvirt_socket=$work/libvirt/run/libvirt-sock

# Cinder tells Nova the cluster's fsid as the secret of libvirt by which QEMU opens volumes, where nothing else is configured.
cluster() { awk '$1 == "fsid" { print $3 }' "$dir/ceph/ceph.conf"; }

write_all() {
  write_placement | put "$work/placement.conf"
  write_neutron | put "$work/neutron.conf"
  write_nova | put "$work/nova.conf"
  write_libvirt
  write_inside | put "$work/bin/inside" 0755
}

write_placement() {
  cat <<CONF
[placement_database]
connection = $(database placement)
[api]
auth_strategy = keystone
$(auth_section placement)
[oslo_policy]
policy_dirs = /nonexistent
CONF
}

write_neutron() {
  cat <<CONF
[DEFAULT]
transport_url = rabbit://lab:secret@127.0.0.1:$((port + 3))/
bind_host = 127.0.0.1
bind_port = $((port + 22))
api_workers = 1
rpc_workers = 0
rpc_state_report_workers = 0
core_plugin = ml2
service_plugins = router, port_forwarding
api_paste_config = /etc/neutron/api-paste.ini
state_path = $work/neutron
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
[database]
connection = $(database neutron)
[ml2]
type_drivers = local
tenant_network_types = local
mechanism_drivers =
$(auth_section neutron)
[oslo_concurrency]
lock_path = $work/locks
[oslo_policy]
policy_dirs = /nonexistent
CONF
}

# Nova waits for a volume for half an hour, where it would wait three minutes: a cold image is large.
write_nova() {
  cat <<CONF
[DEFAULT]
transport_url = rabbit://lab:secret@127.0.0.1:$((port + 3))/
my_ip = 127.0.0.1
host = lab
state_path = $work
instances_path = $work/instances
enabled_apis = osapi_compute
osapi_compute_listen = 127.0.0.1
osapi_compute_listen_port = $((port + 20))
osapi_compute_workers = 1
compute_driver = libvirt.LibvirtDriver
rootwrap_config = /etc/nova/rootwrap.conf
reserved_host_memory_mb = 0
initial_cpu_allocation_ratio = 32
initial_ram_allocation_ratio = 4
block_device_allocate_retries = 1800
block_device_allocate_retries_interval = 1
[api]
auth_strategy = keystone
[api_database]
connection = $(database nova_api)
[database]
connection = $(database nova)
[wsgi]
api_paste_config = /etc/nova/api-paste.ini
$(auth_section nova)
[service_user]
send_service_user_token = true
$(auth_keys nova)
[placement]
region_name = lab
$(auth_keys placement)
[neutron]
region_name = lab
$(auth_keys neutron)
[cinder]
os_region_name = lab
catalog_info = volumev3:cinderv3:publicURL
$(auth_keys nova)
[glance]
endpoint_override = $glance_url
[libvirt]
connection_uri = qemu+unix:///system?socket=$libvirt_socket
virt_type = qemu
cpu_mode = none
images_type = qcow2
rbd_user = cinder
rbd_secret_uuid = $(cluster)
[conductor]
workers = 1
[scheduler]
workers = 1
[vnc]
enabled = false
[spice]
enabled = false
[oslo_concurrency]
lock_path = $work/locks
[oslo_policy]
policy_dirs = /nonexistent
CONF
}

write_libvirt() {
  cat <<CONF | put "$work/libvirtd.conf"
unix_sock_dir = "$work/libvirt/run"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:stderr"
max_client_requests = 50
keepalive_interval = -1
CONF
  cat <<CONF | put "$work/libvirt/etc/qemu.conf"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
CONF
}

# inside PROGRAM... runs it where these folders are libvirt's. One that could write to /dev/kvm, whatever it is, would make
# libvirt ask QEMU anew what it can before each guest, for seconds.
write_inside() {
  cat <<PROGRAM
#!/bin/sh
if [ "\${1:-}" != --here ]; then exec unshare --mount --propagation private "\$0" --here "\$@"; fi
shift
mkdir -p /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /etc/libvirt
for pair in etc:/etc/libvirt lib:/var/lib/libvirt cache:/var/cache/libvirt log:/var/log/libvirt run:/run/libvirt; do
  mount --bind "$work/libvirt/\${pair%%:*}" "\${pair#*:}" || exit
done
! mountpoint -q /sys/fs/cgroup || umount -R /sys/fs/cgroup || exit
: >"$work/none"
[ ! -e /dev/kvm ] || { mount --bind "$work/none" /dev/kvm && mount -o remount,bind,ro /dev/kvm; } || exit
exec "\$@"
PROGRAM
}
