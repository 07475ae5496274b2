package catalog

import (
	"strings"

	"github.com/clonecache/clonecache/backends"
)

// A file cache may be wanted to have an image in both forms. Of volumes' disks a row has the image's name alone; of the image's own
// bytes it has the form behind it, so that programs which know nothing of forms can go on beside: for them it is an image that
// there is not.

// formMark stands between an image's name, in which it cannot be, and the form.
const formMark = "\n"

// queuedAs is what the queue calls an image in a form.
func queuedAs(image string, form backends.Form) string {
	if form == backends.Source {
		return image + formMark + string(form)
	}
	return image
}

// ofQueuedAs is the image and the form that the queue calls so.
func ofQueuedAs(name string) (string, backends.Form) {
	if image, form, is := strings.Cut(name, formMark); is {
		return image, backends.Form(form)
	}
	return name, backends.Decoded
}
