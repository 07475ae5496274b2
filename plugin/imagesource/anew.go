package imagesource

import "context"

type anewKey struct{}

// Anew returns a context in which Stat answers nothing from memory, and asks as Open does: for a fill whose
// image changed while it was read, or is not what a list says, and for who looks whether there is a newer one. Only
// that an unchanged file is in no list of digests is still believed: it takes a request for each name of one.
func Anew(ctx context.Context) context.Context { return context.WithValue(ctx, anewKey{}, true) }

func isAnew(ctx context.Context) bool {
	anew, _ := ctx.Value(anewKey{}).(bool)
	return anew
}
