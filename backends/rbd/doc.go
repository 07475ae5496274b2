// Package rbd is the backend whose volumes are images in a Ceph pool.
//
// An image-volume is the RBD image clonecache-ID with one snapshot, "clonecache", and volumes are its
// clones (clone v2, nothing protected). Image-volumes and volumes carry a record of ours in their image
// metadata (`rbd image-meta list`), which names the image by its RBD ID: a record that was copied along
// to another image, as clones and `rbd cp` do, makes that image not ours. Image-volumes are also named
// in an index, the object clonecache.index of their pool, so that nothing ever looks through all
// volumes to find them.
//
// The package never touches an image without its record, but for one case: what a process of the same
// installation that was killed left half made (settle.go). After a crash there is each volume whole, or
// not at all once Settle was called for it.
//
// Calls of librbd cannot be interrupted. Each runs in a goroutine of its own, at most Config.Calls at
// once, and one that takes longer than Config.Timeout is given up with backends.ErrUnavailable: it goes
// on, holds no memory of the caller's, and undoes what it made once it ends.
//
// It is built with the tag "ceph"; without it Open says how to get it.
package rbd
