package diskimage

// Bounds of what claims hold in memory.
const (
	claimPageBytes = 4096
	claimPerPage   = claimPageBytes * 4 // two bits a cluster
	maxClaimPages  = 4096               // 16 MiB: a file of 4 TiB in clusters of 64 KiB, of 32 GiB in those of 512
	maxClaimStarts = 512 << 10
)

// The two bits of a cluster of the file.
const (
	claimedWhole = 1 << iota // a table, or an uncompressed cluster of the disk
	claimedParts             // compressed clusters, of which many share one
)

// claims says which clusters of the file are spoken for, so that nothing is used twice.
type claims struct {
	clusterBits int
	pages       map[int64]*[claimPageBytes]byte
	last        *[claimPageBytes]byte
	lastIndex   int64
	starts      map[int64]struct{} // of compressed clusters, as long as there are few enough
}

func newClaims(clusterBits int) *claims {
	return &claims{
		clusterBits: clusterBits,
		pages:       map[int64]*[claimPageBytes]byte{},
		lastIndex:   -1,
		starts:      map[int64]struct{}{},
	}
}

// whole claims all clusters that the bytes from off touch, for one use.
func (c *claims) whole(off, length int64, field string) error {
	for i := off >> c.clusterBits; i<<c.clusterBits < off+length; i++ {
		page, err := c.page(i)
		if err != nil {
			return err
		}
		at, shift := c.bits(i)
		if page[at]>>shift&(claimedWhole|claimedParts) != 0 {
			return refuse(RuleOverlap, field, hex(i<<c.clusterBits))
		}
		page[at] |= claimedWhole << shift
	}
	return nil
}

// parts claims the clusters that a compressed cluster's bytes touch. No two compressed clusters begin at
// the same byte.
func (c *claims) parts(off, length int64) error {
	for i := off >> c.clusterBits; i<<c.clusterBits < off+length; i++ {
		page, err := c.page(i)
		if err != nil {
			return err
		}
		at, shift := c.bits(i)
		if page[at]>>shift&claimedWhole != 0 {
			return refuse(RuleOverlap, "compressed cluster", hex(off))
		}
		page[at] |= claimedParts << shift
	}
	if _, ok := c.starts[off]; ok {
		return refuse(RuleOverlap, "compressed cluster", hex(off))
	}
	if len(c.starts) < maxClaimStarts {
		c.starts[off] = struct{}{}
	}
	return nil
}

func (c *claims) bits(cluster int64) (at int64, shift uint) {
	i := cluster % claimPerPage
	return i / 4, uint(i%4) * 2
}

func (c *claims) page(cluster int64) (*[claimPageBytes]byte, error) {
	index := cluster / claimPerPage
	if index == c.lastIndex {
		return c.last, nil
	}
	page := c.pages[index]
	if page == nil {
		if len(c.pages) >= maxClaimPages {
			return nil, refuse(RuleTooManyClusters, "file offset", hex(cluster<<c.clusterBits))
		}
		page = new([claimPageBytes]byte)
		c.pages[index] = page
	}
	c.last, c.lastIndex = page, index
	return page, nil
}
