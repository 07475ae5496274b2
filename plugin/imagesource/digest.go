package imagesource

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// ParseDigest reads "sha256:<64 hex digits>" or "sha512:<128 hex digits>", in lower case as String
// writes it. Nothing else is a digest: no other algorithm, no upper case, no space around it.
func ParseDigest(text string) (Digest, error) {
	name, digits, found := strings.Cut(text, ":")
	if !found {
		return Digest{}, fmt.Errorf("digest %.200q: want sha256:<hex> or sha512:<hex>", text)
	}
	d := Digest{Algorithm: Algorithm(name), Hex: digits}
	if err := d.check(); err != nil {
		return Digest{}, fmt.Errorf("digest %.200q: %w", text, err)
	}
	return d, nil
}

// check tells whether d is a digest in the form that String writes.
func (d Digest) check() error {
	length := d.Algorithm.hexLength()
	if length == 0 {
		return fmt.Errorf("algorithm %.20q is not accepted, only sha256 and sha512", string(d.Algorithm))
	}
	if len(d.Hex) != length {
		return fmt.Errorf("%s has %d hex digits, not %d", d.Algorithm, length, len(d.Hex))
	}
	if i := strings.IndexFunc(d.Hex, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) }); i >= 0 {
		return fmt.Errorf("digit %d is not a lower-case hex digit", i+1)
	}
	return nil
}

// hexLength is the number of hex digits of a digest; 0 where the algorithm is not accepted.
func (a Algorithm) hexLength() int {
	switch a {
	case SHA256:
		return 2 * sha256.Size
	case SHA512:
		return 2 * sha512.Size
	default:
		return 0
	}
}

// hash is the algorithm's; SHA-256 for any that is not accepted.
func (a Algorithm) hash() (Algorithm, hash.Hash) {
	if a == SHA512 {
		return SHA512, sha512.New()
	}
	return SHA256, sha256.New()
}

func digestOf(a Algorithm, h hash.Hash) Digest {
	return Digest{Algorithm: a, Hex: hex.EncodeToString(h.Sum(nil))}
}
