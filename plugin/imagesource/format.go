package imagesource

import (
	"errors"
	"path"
	"strings"
)

// diskFormatOf is what a file's name claims: ".qcow2" and ".raw" are claims, any other name is none.
func diskFormatOf(name string) string {
	switch ext := strings.ToLower(path.Ext(name)); ext {
	case ".qcow2", ".raw":
		return ext[1:]
	default:
		return ""
	}
}

// checkSourceName refuses names that could not be told apart in SOURCE:ID.
func checkSourceName(name string) error {
	switch {
	case name == "":
		return errors.New("is empty")
	case name == "http" || name == "https":
		return errors.New("is reserved for URLs")
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(":/\\", r) }):
		return errors.New("may not contain ':', '/', '\\' or spaces")
	default:
		return nil
	}
}
