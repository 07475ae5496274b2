//go:build ceph

package rbd

import (
	"encoding/binary"
	"errors"

	"github.com/ceph/go-ceph/rados"
)

// What librbd does by opening an image takes it about ten operations; these are the single ones behind
// it. Names of objects and methods, and the encoding, are those of Ceph's src/cls/rbd/cls_rbd_client.cc
// and doc/dev/rbd-layering; they are on-disk format, the same since image format 2 exists.

const (
	trashObject     = "rbd_trash"     // IDs of what is in the trash
	directoryObject = "rbd_directory" // names to IDs and back
	idObject        = "rbd_id."       // + name: holds the ID
	headerObject    = "rbd_header."   // + ID: holds size, parent, metadata
)

var errDecode = errors.New("an answer of the OSD cannot be decoded")

// encodeString is Ceph's encoding of a string or a buffer: its length, little endian, and its bytes.
func encodeString(s string) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(s))), s...)
}

func decodeString(p []byte) (string, error) {
	if len(p) < 4 {
		return "", errDecode
	}
	n := int64(binary.LittleEndian.Uint32(p))
	if int64(len(p)) < 4+n {
		return "", errDecode
	}
	return string(p[4 : 4+n]), nil
}

// ask calls a method of Ceph's RBD class on an object. Its answer is a string.
func ask(io *rados.IOContext, object, method string, in []byte) (string, error) {
	op := rados.CreateReadOp()
	defer op.Release()
	step := op.Exec("rbd", method, in)
	if err := op.Operate(io, object, rados.OperationNoFlag); err != nil {
		return "", err
	}
	out, err := step.Bytes()
	if err != nil {
		return "", err
	}
	return decodeString(out)
}

// idOf is the RBD ID of the image of that name. -ENOENT: there is none, or one half made or half removed.
func idOf(io *rados.IOContext, name string) (string, error) {
	return ask(io, idObject+name, "get_id", nil)
}

// listedID is the RBD ID that the pool's directory has for a name: it gets there before anything else of
// an image. -ENOENT.
func listedID(io *rados.IOContext, name string) (string, error) {
	return ask(io, directoryObject, "dir_get_id", encodeString(name))
}

// nameOf is the name of the image with that RBD ID. -ENOENT: it is in the trash, or gone.
func nameOf(io *rados.IOContext, rbdID string) (string, error) {
	return ask(io, directoryObject, "dir_get_name", encodeString(rbdID))
}

// metadata reads a value of an image's metadata. -ENOENT: the image or the key is not there.
func metadata(io *rados.IOContext, rbdID, key string) (string, error) {
	return ask(io, headerObject+rbdID, "metadata_get", encodeString(key))
}

// removeMetadata removes a value of an image's metadata. -ENOENT: the image or the key is not there.
func removeMetadata(io *rados.IOContext, rbdID, key string) error {
	op := rados.CreateWriteOp()
	defer op.Release()
	op.AssertExists()
	op.Exec("rbd", "metadata_remove", encodeString(key))
	return op.Operate(io, headerObject+rbdID, rados.OperationNoFlag)
}

// setMetadata writes a value of the metadata of an image that must be there; else it is -ENOENT.
func setMetadata(io *rados.IOContext, rbdID, key, value string) error {
	op := rados.CreateWriteOp()
	defer op.Release()
	op.AssertExists()
	op.Exec("rbd", "metadata_set", encodeMetadata(key, value))
	return op.Operate(io, headerObject+rbdID, rados.OperationNoFlag)
}

// encodeMetadata is Ceph's encoding of a map with one pair.
func encodeMetadata(key, value string) []byte {
	one := binary.LittleEndian.AppendUint32(nil, 1)
	return append(append(one, encodeString(key)...), encodeString(value)...)
}

// trashState is what the trash says of an image (cls_rbd_types.h, TrashImageState).
type trashState byte

const (
	trashNormal trashState = 0
	trashMoving trashState = 1
)

// setTrashState changes what the trash says of an image, if it says expect. -ESTALE: it says something else. -ENOENT.
func setTrashState(io *rados.IOContext, rbdID string, to, expect trashState) error {
	op := rados.CreateWriteOp()
	defer op.Release()
	op.Exec("rbd", "trash_state_set", append(encodeString(rbdID), byte(to), byte(expect)))
	return op.Operate(io, trashObject, rados.OperationNoFlag)
}
