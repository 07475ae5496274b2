package plugin

// ladder takes a request from its image's lookup to its answer: the image's own clone, the image-volume's clone, a copy
// from the file cache, or out of the way.
//
// It makes volumes, each between an intent and an answer in the journal, whole or not at all; and it lists, keeps and
// deletes them. It fills and evicts nothing itself. It never removes a volume of which somebody was told, nor one that
// somebody has. A crash leaves an open intent, which is settled before the volume's name is used again, at the next start
// at the latest.
type ladder struct {
	*house
	books   *books
	stock   *stock
	fills   *fills
	sources *sources

	rungs     []rung // the ways of making a volume, the best one first
	unsettled openIntents
	names     names // whose turn it is to make a volume
}

func newLadder(h *house, b *books, k *stock, fl *fills, sources *sources) *ladder {
	l := &ladder{house: h, books: b, stock: k, fills: fl, sources: sources, names: names{busy: make(map[volumeKey]*turn)}}
	l.rungs = l.allRungs()
	return l
}
