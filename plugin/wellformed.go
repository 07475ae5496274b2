package plugin

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// wellFormed refuses a request that no image and no backend could make right: ErrBadRequest, which names the
// field, or backends.ErrBadName. Texts end up in logs, events and tables, a line each: what is no text, or steers whoever shows it, is
// refused here, so that nothing behind has to expect it.
func (r Request) wellFormed() error {
	type text struct{ field, value string }
	texts := []text{
		{"backend", string(r.Backend)}, {"image", r.Image}, {"volume", string(r.Volume)},
		{"disk_format", r.DiskFormat}, {"volume_type", r.VolumeType}, {"project_id", string(r.ProjectID)}, {"place", string(r.Place)},
	}
	for _, l := range r.ImageLocations {
		texts = append(texts, text{"image_locations", l})
	}
	for _, t := range texts {
		if err := plainText(t.field, t.value); err != nil {
			return err
		}
	}
	switch {
	case r.Volume == "":
		return fmt.Errorf("%w: volume: a name is needed", ErrBadRequest)
	case r.Volume[0] == '-': // commands would take it for an option: rm -rf, rbd rm --help
		return fmt.Errorf("%w: volume %q begins with '-'", backends.ErrBadName, r.Volume)
	case r.Image == "":
		return fmt.Errorf("%w: image: SOURCE:ID is needed", ErrBadRequest)
	case r.SizeBytes < 0:
		return fmt.Errorf("%w: size_bytes: %d is negative", ErrBadRequest, r.SizeBytes)
	case r.SizeBytes > backends.MaxSize:
		return fmt.Errorf("size_bytes: %d: %w; at most %d are possible anywhere", r.SizeBytes, backends.ErrTooLarge, int64(backends.MaxSize))
	case r.ImageVirtualBytes < 0:
		return fmt.Errorf("%w: image_virtual_bytes: %d is negative", ErrBadRequest, r.ImageVirtualBytes)
	case r.OnMiss != "" && r.OnMiss != Wait && r.OnMiss != Background:
		return fmt.Errorf("%w: on_miss: %q is neither wait nor background", ErrBadRequest, r.OnMiss)
	}
	return nil
}

// plainText refuses a text that is none, or steers whoever shows it. ErrBadRequest.
func plainText(field, value string) error {
	if !utf8.ValidString(value) || strings.ContainsFunc(value, steers) {
		return fmt.Errorf("%w: %s: %.64q has characters that are no text; leave out control characters and line ends", ErrBadRequest, field, imagesource.ShownRef(value))
	}
	return nil
}

// steers tells whether a character is more than a sign: control characters, ends of lines, and what turns the
// direction of writing.
func steers(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r)
}
