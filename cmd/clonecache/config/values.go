package config

import (
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"unicode"
)

// Path is a file or a directory. In the file it is absolute, or relative to the directory of the
// configuration file; once loaded it is absolute and clean.
type Path string

// UnmarshalText implements encoding.TextUnmarshaler. "" is no path.
func (p *Path) UnmarshalText(text []byte) error { return unmarshalPath(p, string(text)) }

// UnmarshalText implements encoding.TextUnmarshaler. "" is no path.
func (f *SecretFile) UnmarshalText(text []byte) error { return unmarshalPath(f, string(text)) }

// unmarshalPath refuses paths that nobody means: they would be made, and looked for in vain.
func unmarshalPath[T Path | SecretFile](to *T, text string) error {
	if text != strings.TrimSpace(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("%q is no path: remove spaces around it and control characters in it", text)
	}
	if len(text) > longestPath {
		return fmt.Errorf("a path of %d bytes is too long: use a shorter one", len(text))
	}
	*to = T(text)
	return nil
}

const longestPath = 4095 // bytes; PATH_MAX without the zero at the end

// FileMode is a file's permission bits, written in octal as "0660".
type FileMode fs.FileMode

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *FileMode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("%q is not a file mode: write it in octal, such as \"0660\"", text)
	}
	*m = FileMode(n)
	return nil
}

func (m FileMode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// Listen is an address to serve on: unix:///path/to.sock or tcp://host:port.
type Listen struct {
	Network string // "unix" or "tcp"
	Address string // a socket's path, or host:port
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Listen) UnmarshalText(text []byte) error {
	network, address, found := strings.Cut(string(text), "://")
	if !found || address == "" || (network != "unix" && network != "tcp") {
		return fmt.Errorf("%q is not an address to listen on: write unix:///run/clonecache/clonecache.sock or tcp://127.0.0.1:8780", text)
	}
	*l = Listen{Network: network, Address: address}
	return nil
}

func (l Listen) String() string { return l.Network + "://" + l.Address }

// SecretFile is the path of a file that holds a secret. Only the path is in the configuration; whoever
// needs the secret reads it, and never prints it.
type SecretFile string

// Check tells what keeps the secret from being one: one that is missing, no file, empty, not readable, or
// readable by everybody on the host. "" is no secret, and fine.
func (f SecretFile) Check() error {
	if f == "" {
		return nil
	}
	info, err := os.Stat(string(f))
	if err != nil {
		return fmt.Errorf("look at the secret: %w: write it into that file, which the daemon's user must be able to read", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file: name the file that holds the secret", f)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return fmt.Errorf("everybody on this host may read %s: chmod 0640 it", f)
	}
	if info.Size() == 0 {
		return fmt.Errorf("%s is empty: write the secret into it", f)
	}
	file, err := os.Open(string(f))
	if err != nil {
		return fmt.Errorf("look at the secret: %w: let the daemon's user read it", err)
	}
	return file.Close()
}
