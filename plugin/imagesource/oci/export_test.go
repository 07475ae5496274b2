package oci

// Host is where a source's registry is.
func (s *Source) Host() string { return s.base.Host }
