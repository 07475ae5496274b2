package plugin

// remover removes entries for people and for bounds that were lowered: what goes, what stays and why, and what would go.
//
// It decides, and the stock evicts. It never removes what is pinned, nor detaches what has live clones unless it is
// told to, and begins nothing on a store that does not answer. A crash leaves entries that are evicting, which the
// stock takes to their end.
type remover struct {
	*house
	books *books
	stock *stock

	changed chan struct{} // limits were
}
