package backends

// SizeUnit is what the size of every volume and image-volume is a whole multiple of, in bytes: disks of
// 4096-byte sectors are used whole then, by guests, QEMU and loop devices alike.
const SizeUnit = 4096

// RoundUp is the smallest whole multiple of SizeUnit that is not below a size.
func RoundUp(size int64) int64 {
	if over := size % SizeUnit; over > 0 && size <= MaxSize {
		size += SizeUnit - over
	}
	return size
}

// MaxSize is the largest size that any volume can have.
const MaxSize = 1<<63 - SizeUnit

// Rounded is the spec with the size that is made.
func (s StageSpec) Rounded() StageSpec {
	s.VirtualBytes = RoundUp(s.VirtualBytes)
	return s
}

// Rounded is the spec with the size that is made.
func (s VolumeSpec) Rounded() VolumeSpec {
	s.SizeBytes = RoundUp(s.SizeBytes)
	return s
}
