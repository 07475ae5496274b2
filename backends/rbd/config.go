package rbd

import (
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
)

// Config says what to open. Name and Pool are required.
type Config struct {
	Name backends.Name

	Pool            string // of the volumes
	Namespace       string // of volumes and image-volumes, in their pools; default: the pools' own
	ImageVolumePool string // default: Pool

	Conf    string // Ceph's configuration file; default: /etc/ceph/ceph.conf
	User    string // cephx user, without "client."; default: clonecache
	Keyring string // that user's; default: what Conf says

	// Features are those of volumes, as `rbd create --image-feature` names them. Default: layering,
	// exclusive-lock, object-map, fast-diff and deep-flatten, which are Ceph's own.
	Features []string

	ConnectTimeout time.Duration // default: 10 s
	// Timeout is how long the cluster may take over one clone, one piece of a fill, one answer; then the
	// call is backends.ErrUnavailable. Removing an image may take ten times as long. Default: 30 s.
	Timeout time.Duration
	Calls   int // how many calls wait for the cluster at once; default: 32

	// Later lets Open succeed where the cluster does not answer: calls are backends.ErrUnavailable until it
	// does.
	Later bool

	// Holder names the daemon that opens the pool: the same after each restart, another one for each other.
	// What it left when it died, and only that, is settled by itself. Default: the host's name.
	Holder string
	// Formerly are what this daemon was called by older versions. What they noted in the pool under these
	// becomes Holder's.
	Formerly []string

	Now func() time.Time   // default: time.Now
	Log logrus.FieldLogger // default: silent
}

// FeatureNames are the words that Config.Features takes.
var FeatureNames = []string{"layering", "striping", "exclusive-lock", "object-map", "fast-diff", "deep-flatten", "journaling"}
