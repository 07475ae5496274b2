package config

import (
	"net/url"
	"strings"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// web checks a source of kind "http" and makes its paths absolute.
func (c *checker) web(at string, s *ImageSource) {
	s.CAFile = Path(absolute(c.file, string(s.CAFile)))
	s.PasswordFile = SecretFile(absolute(c.file, string(s.PasswordFile)))
	s.TokenFile = SecretFile(absolute(c.file, string(s.TokenFile)))
	c.url(at+".url", s.URL)
	c.login(at, s)
	if err := imagesource.CheckProxy(s.Proxy); err != nil {
		c.problem(at+".proxy", err.Error(), `write "http://proxy.example.org:3128", or "none"; a proxy with a login goes into the environment (https_proxy)`)
	}
	if err := imagesource.CheckRedirects(s.Redirects); err != nil {
		c.problem(at+".redirects", err.Error(), `list host names, "*.example.org", addresses or networks; "*" is every host with a public address`)
	}
}

// login checks that a source has a user with a password, or a token, or neither.
func (c *checker) login(at string, s *ImageSource) {
	switch {
	case s.TokenFile != "" && (s.User != "" || s.PasswordFile != ""):
		c.problem(at+".token_file", "there is a user or a password too", "give token_file, or user and password_file")
	case s.User == "" && s.PasswordFile != "":
		c.problem(at+".user", "there is a password without a user", "give user beside password_file")
	case s.User != "" && s.PasswordFile == "":
		c.problem(at+".password_file", "there is a user without a password", "name the file that holds the password")
	case strings.Contains(s.User, ":"):
		c.problem(at+".user", "it contains ':', which ends a user's name", "give the name alone")
	}
	if (s.User != "" || s.TokenFile != "") && strings.HasPrefix(s.URL, "http://") {
		c.warn(at+".url", "the login goes over the network in the clear", "use https")
	}
}

// url checks an HTTP source's address. It may carry no password: it is shown in logs and reports.
func (c *checker) url(key, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		c.problem(key, "not an http(s) URL", `write "https://images.example.org/debian"`)
	case u.User != nil:
		c.problem(key, "it carries a user or a password", "remove them, and set user and password_file")
	case u.RawQuery != "" || u.Fragment != "":
		c.problem(key, "it has a query or a fragment", "an image's name is appended to the URL, so it must end in a path; a query belongs to an image's own URL")
	}
}
