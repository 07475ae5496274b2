package imagesource

// SameForAll is an optional capability of a Source: what it says of an image, that there is none too, it says to
// every requester.
type SameForAll interface{ SameForAll() }

// SameForAll implements SameForAll.
func (*Directory) SameForAll() {}

// SameForAll implements SameForAll.
func (*HTTP) SameForAll() {}
