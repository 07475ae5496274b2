package imagesource

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"slices"
	"strings"
)

const maxRedirects = 5

// parseBase checks a configured URL.
func parseBase(text string) (*url.URL, error) {
	u, err := parseURL(text)
	if err != nil {
		return nil, err
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if p := strings.TrimPrefix(u.Path, "/"); p != "" && !plainPath(p) {
		return nil, fmt.Errorf("%w: not a plain path", ErrRefused)
	}
	if u.RawQuery != "" || u.ForceQuery {
		return nil, fmt.Errorf("%w: the URL of a source may not hold a query", ErrRefused)
	}
	return u, nil
}

// parseURL takes a URL that names a place on a web server and nothing else. Errors do not repeat the
// text, which may hold a password.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: not a URL", ErrRefused)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%w: scheme %q is not http or https", ErrRefused, u.Scheme)
	case u.Hostname() == "" || u.Opaque != "":
		return nil, fmt.Errorf("%w: no host", ErrRefused)
	case u.User != nil:
		return nil, fmt.Errorf("%w: a URL may not hold a user or a password; set user and password_file of the image source", ErrRefused)
	case u.Fragment != "":
		return nil, fmt.Errorf("%w: a URL may not hold a fragment", ErrRefused)
	case u.RawPath != "": // an encoded '/', say: what the server makes of it is not known
		return nil, fmt.Errorf("%w: an encoding that is not the plain one", ErrRefused)
	}
	return u, nil
}

// plainPath tells whether each part of a relative path is a name: not empty, ".", or "..". What would
// begin a query or a fragment is refused rather than encoded, since it was surely meant as one.
func plainPath(p string) bool {
	return fs.ValidPath(p) && p != "." &&
		!strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune(`\?#`, r) })
}

// locate turns an ID into the URL that it means, and into the form in which it is remembered: the path
// below the configured URL, else the whole URL, without a query that may be a credential. ErrRefused.
func (h *HTTP) locate(id string) (*url.URL, string, error) {
	if isURL(id) {
		u, err := parseURL(id)
		if err != nil {
			return nil, id, err
		}
		return h.locateURL(u, id)
	}
	name, query, _ := strings.Cut(strings.TrimPrefix(id, "/"), "?")
	if !plainPath(name) {
		return nil, id, fmt.Errorf("%w: not a plain path", ErrRefused)
	}
	u := *h.base
	u.Path += "/" + name
	u.RawQuery = query
	return withQuery(&u, name)
}

func (h *HTTP) locateURL(u *url.URL, id string) (*url.URL, string, error) {
	if !SameHost(h.base, u) {
		return nil, id, fmt.Errorf("%w: host %s is not that of image source %s", ErrRefused, u.Host, h.config.Name)
	}
	if !plainPath(strings.TrimPrefix(u.Path, "/")) {
		return nil, id, fmt.Errorf("%w: not a plain path", ErrRefused)
	}
	u.Scheme, u.Host = h.base.Scheme, h.base.Host
	if name, below := strings.CutPrefix(u.Path, h.base.Path+"/"); below {
		return withQuery(u, name)
	}
	plain := *u
	plain.RawQuery = ""
	return withQuery(u, plain.String())
}

// keptQuery begins what an ID has in place of a query.
const keptQuery = "~"

// withQuery makes the ID of a URL of its name and its query: what only proves a right to read is left out,
// and of the rest there is a hash, since it may be a credential too.
func withQuery(u *url.URL, name string) (*url.URL, string, error) {
	values, err := url.ParseQuery(u.RawQuery)
	switch {
	case strings.HasPrefix(u.RawQuery, keptQuery):
		return nil, name, fmt.Errorf("%w: this image has a query, which is not kept; give its whole URL", ErrRefused)
	case err != nil || strings.ContainsFunc(u.RawQuery, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '#' }):
		return nil, name, fmt.Errorf("%w: not a plain query", ErrRefused)
	}
	maps.DeleteFunc(values, func(key string, _ []string) bool { return isSignature(key) })
	if len(values) == 0 {
		return u, name, nil
	}
	sum := sha256.Sum256([]byte(values.Encode()))
	return u, name + "?" + keptQuery + hex.EncodeToString(sum[:6]), nil
}

// isSignature tells whether a parameter belongs to the signed URLs of S3, Google, Azure or CloudFront.
func isSignature(key string) bool {
	key = strings.ToLower(key)
	for _, prefix := range []string{"x-amz-", "x-goog-", "x-oss-"} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return slices.Contains([]string{
		"signature", "expires", "policy", "key-pair-id", "awsaccesskeyid", "googleaccessid", "token",
		"sig", "sv", "se", "st", "sp", "sr", "spr", "sip", "skoid", "sktid", "skt", "ske", "sks", "skv",
	}, key)
}

// holds tells whether a URL is on this source's host, and how much of its path is the configured one.
func (h *HTTP) holds(u *url.URL) (depth int, ok bool) {
	if !SameHost(h.base, u) {
		return 0, false
	}
	if strings.HasPrefix(u.Path, h.base.Path+"/") {
		return 1 + len(h.base.Path), true
	}
	return 0, true
}

func isURL(ref string) bool {
	scheme, _, found := strings.Cut(ref, "://")
	return found && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https"))
}

// SameHost compares scheme, host and port.
func SameHost(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "https":
		return "443"
	case u.Scheme == "socks5":
		return "1080"
	default:
		return "80"
	}
}

// clean is a reference as errors may show it: without what stands in a URL for a user, a query or a
// fragment, and not too long.
func clean(ref string) string {
	if i := strings.IndexAny(ref, "?#"); i >= 0 {
		ref = ref[:i]
	}
	if scheme, rest, found := strings.Cut(ref, "://"); found {
		authority, path, _ := strings.Cut(rest, "/")
		if i := strings.LastIndexByte(authority, '@'); i >= 0 {
			ref = scheme + "://" + authority[i+1:] + "/" + path
		}
	}
	if len(ref) > 200 {
		ref = strings.ToValidUTF8(ref[:200], "") + "…"
	}
	return ref
}

// withoutURL strips what net/http puts around an error, since that repeats the URL with its query; so
// may what is left, of a redirect.
func withoutURL(err error) error {
	var wrapped *url.Error
	for errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if text, _, found := strings.Cut(err.Error(), "?"); found {
		return errors.New(text + "?…")
	}
	return err
}
