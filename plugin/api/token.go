package api

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"

	"github.com/clonecache/clonecache/plugin/smallfile"
)

// token is a bearer token. It prints as [secret].
type token string

const minTokenLength = 16

func (token) String() string   { return "[secret]" }
func (token) GoString() string { return "[secret]" }

// readToken reads a token from its file, without the white space around it. "" is no token.
func readToken(file string) (token, error) {
	if file == "" {
		return "", nil
	}
	raw, err := smallfile.Read(file)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	raw = bytes.TrimSpace(raw)
	if len(raw) < minTokenLength || bytes.ContainsAny(raw, " \t\r\n") {
		return "", fmt.Errorf("read the token: %s must hold one line of at least %d characters without spaces: write the token into it", file, minTokenLength)
	}
	return token(raw), nil
}

// CheckTokenFile tells what keeps a file's content from being a token; "" is no file, and fine.
func CheckTokenFile(file string) error {
	_, err := readToken(file)
	return err
}

// equals compares in a time that depends on neither token.
func (t token) equals(given string) bool {
	want, got := sha256.Sum256([]byte(t)), sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}
