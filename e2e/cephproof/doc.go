// Package cephproof runs the real daemon on a real Ceph cluster and breaks both: it kills the daemon after
// every step that there is and in bursts of hits, kills and stops OSD and mon under fills and clones,
// fills the pool, cuts the daemon off, and takes its image-volumes away. Afterwards it compares all that
// the pools hold - images, parents and children, snapshots, trash, the index, every object - with the
// catalog and the quota, and every byte of every volume with its image.
//
// The tests are built with the tag "ceph", and start the clusters that they need (e2e/ceph/cluster.sh).
//
//	CEPH_DIR, CEPH_PORT            another place for the cluster; one that runs there is used, and stays
//	CLONECACHE_KILLS=100           kills in bursts of hits; default: 15
//	CLONECACHE_OUTAGE=30s          how long OSD and mon are stopped; default: 8s
//	CLONECACHE_QUEUED_IMAGES=1000  images that three hosts have to fill, one of which dies; default: 100
package cephproof
