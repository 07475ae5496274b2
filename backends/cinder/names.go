package cinder

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/clonecache/clonecache/backends"
)

// longestText is a volume's name in Cinder, and a value of its metadata, in characters.
const longestText = 255

// CheckVolumeName implements backends.VolumeNamer.
func (*Backend) CheckVolumeName(name backends.VolumeName) error {
	if n := utf8.RuneCountInString(string(name)); n == 0 || n > longestText {
		return fmt.Errorf("a name of 1 to %d characters is wanted, not of %d: %w", longestText, n, backends.ErrBadName)
	}
	return nil
}

// withMetadata asks for the volumes that have all of it. Cinder reads it as Python does, and where it cannot, it finds none: a name
// may have quotes in it, and backslashes.
type withMetadata map[string]string

// ToVolumeListQuery implements volumes.ListOptsBuilder.
func (m withMetadata) ToVolumeListQuery() (string, error) {
	const page = 500 // Cinder may be set to give less
	quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		pairs = append(pairs, "'"+quoted.Replace(key)+"':'"+quoted.Replace(m[key])+"'")
	}
	return "?" + url.Values{"limit": {strconv.Itoa(page)}, "metadata": {"{" + strings.Join(pairs, ", ") + "}"}}.Encode(), nil
}
