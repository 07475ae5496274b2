package imagesource

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/clonecache/clonecache/plugin/smallfile"
)

// login is how a source proves itself to its own host. Files are read for each request, so that a changed
// secret is found.
type login struct {
	user         string
	passwordFile string
	tokenFile    string
}

// check refuses what is neither a user with a password nor a token.
func (l login) check() error {
	switch {
	case l.tokenFile != "" && (l.user != "" || l.passwordFile != ""):
		return errors.New("token_file: give it, or user and password_file, not both")
	case (l.user == "") != (l.passwordFile == ""):
		return errors.New("user: give both user and password_file, or neither")
	case strings.Contains(l.user, ":"):
		return errors.New("user: it may not contain ':'")
	}
	return nil
}

// add adds the login to a request's header. ErrLogin: a file cannot be read, or is empty.
func (l login) add(header http.Header) error {
	switch {
	case l.tokenFile != "":
		token, err := secret(l.tokenFile)
		if err != nil {
			return fmt.Errorf("%w: token_file: %w", ErrLogin, err)
		}
		header.Set("Authorization", "Bearer "+token)
	case l.user != "":
		password, err := secret(l.passwordFile)
		if err != nil {
			return fmt.Errorf("%w: password_file: %w", ErrLogin, err)
		}
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(l.user+":"+password)))
	}
	return nil
}

// secret is a file's first line.
func secret(file string) (string, error) {
	text, err := smallfile.Read(file)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("%s is empty", file)
	}
	return line, nil
}
