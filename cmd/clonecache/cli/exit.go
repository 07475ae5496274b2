package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/smallfile"
)

// The exit codes. docs/cli.md and "clonecache help exit-codes" list them.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitBypassed    = 4
	exitRefused     = 5
	exitNotFound    = 6
	exitConflict    = 7
	exitProblems    = 8
	exitLater       = 9
	exitInterrupted = 130
)

// exitCodes says what each code means, for the help topic and the documentation.
var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitOK, "done; for volume create: the volume exists. serve: it was asked to stop, and did"},
	{exitError, "something else went wrong; the message says what"},
	{exitUsage, "the command line, the request or the configuration file is wrong"},
	{exitUnreachable, "no daemon answers, its socket may not be opened, or its certificate is not trusted"},
	{exitBypassed, "no volume was made, and nothing is wrong: the cache stepped aside (outcome bypassed)"},
	{exitRefused, "the image was refused: hostile, damaged, of an unsupported format, with a wrong digest, or not to be read"},
	{exitNotFound, "there is no such image, volume, entry, backend or file"},
	{exitConflict, "it is in the way of something that exists or is going on: another volume has the name, an entry has live clones"},
	{exitProblems, "check or config check found problems that are still there"},
	{exitLater, "not now: the daemon starts or stops, or what it needs does not answer; the same command may succeed later"},
	{exitInterrupted, "interrupted"},
}

// gravest are the exit codes of failures, the worst first: what keeps any command from working, then what is
// wrong, then what only was not the moment.
var gravest = []int{exitInterrupted, exitUnreachable, exitError, exitUsage, exitRefused, exitConflict, exitNotFound, exitLater}

// worse tells whether an exit code is worse than another.
func worse(code, than int) bool {
	place := func(code int) int {
		if at := slices.Index(gravest, code); at >= 0 {
			return at
		}
		return len(gravest)
	}
	return place(code) < place(than)
}

// Errors that only decide the exit code: what there is to say has been printed.
var (
	errBypassed = errors.New("bypassed")
	errProblems = errors.New("problems were found")
	errLogged   = errors.New("the log says why")
)

// exitWith is an exit code after everything has been said.
type exitWith int

func (e exitWith) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is a command line that was not understood.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// finish reports an error and returns the exit code.
func (a *app) finish(ctx context.Context, err error) int {
	var said exitWith
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &said):
		return int(said)
	case errors.Is(err, errBypassed):
		return exitBypassed
	case errors.Is(err, errProblems):
		return exitProblems
	case errors.Is(err, errLogged):
		return exitError
	}
	shown, code := a.explain(ctx, err)
	if a.format == formatJSON {
		if a.json(struct {
			Error *api.Error `json:"error"`
		}{shown}) != nil {
			return exitError
		}
		return code
	}
	fmt.Fprintf(a.Err, "clonecache: %s\n", clean(indented(shown.Message)))
	if logged(shown) {
		fmt.Fprintf(a.Err, "  request ID: %s\n", clean(cell(shown.RequestID)))
	}
	return code
}

// saidPartly says on standard error, beside a result that has been printed, why it is not the whole one.
func (a *app) saidPartly(ctx context.Context, err error) error {
	shown, exit := a.explain(ctx, err)
	fmt.Fprintf(a.Err, "clonecache: %s\n", clean(indented(shown.Message)))
	return exitWith(exit)
}

// logged tells whether the daemon's log says more of an error, under its request's ID.
func logged(e *api.Error) bool {
	return e.RequestID != "" && e.Status >= http.StatusInternalServerError
}

// explain is what the package's function of this name says, in the words of a command line.
func (a *app) explain(ctx context.Context, err error) (*api.Error, int) {
	shown, code := explain(ctx, err)
	if shown.Code != "unauthorized" {
		return shown, code
	}
	said := *shown
	said.Message = "the daemon asks for its token: name the file that holds it with --token-file or CLONECACHE_TOKEN_FILE, or one with a token of Keystone's, if its configuration has [api.keystone], with --os-token-file"
	switch {
	case a.tokenFile != "":
		said.Message = "the token in " + a.tokenFile + " is not the daemon's; give the file that token_file, or a [[token]], in its configuration names, or a copy of it"
	case a.osTokenFile != "":
		said.Message = "the token in " + a.osTokenFile + " is none that Keystone knows any more, or the daemon's configuration has no [api.keystone]; get one with `openstack token issue -f value -c id`"
	case a.certFile != "":
		said.Message = "the daemon knows nobody by the certificate in " + a.certFile + "; its configuration needs a [[certificate]] with the common name of that one's subject"
	}
	return &said, code
}

// explain turns an error into what a program reads, and the exit code.
func explain(ctx context.Context, err error) (*api.Error, int) {
	var answered *api.Error
	var usage *usageError
	var problems config.Problems
	var refusal *diskimage.Refusal
	switch {
	case errors.As(err, &answered):
		return answered, exitCodeOf(answered)
	case errors.As(err, &problems):
		return &api.Error{Code: "bad_configuration", Message: "the configuration is wrong:\n" + err.Error()}, exitUsage
	case errors.As(err, &usage):
		return &api.Error{Code: "usage", Message: err.Error()}, exitUsage
	case errors.As(err, &refusal):
		return &api.Error{Code: "image_refused", Message: refusal.Error(),
			Rule: refusal.Rule, Field: refusal.Field, Value: refusal.Value}, exitRefused
	case errors.Is(ctx.Err(), context.Canceled):
		return &api.Error{Code: "interrupted", Message: "interrupted; the daemon undoes what only this command wanted"}, exitInterrupted
	case errors.Is(err, smallfile.ErrNotSmall):
		return &api.Error{Code: "usage", Message: err.Error()}, exitUsage
	case errors.Is(err, fs.ErrNotExist):
		return &api.Error{Code: "not_found", Message: err.Error()}, exitNotFound
	}
	return &api.Error{Code: "error", Message: err.Error()}, exitError
}

// exitCodeOf is the exit code for what a daemon, or the client on the way to it, answered.
func exitCodeOf(e *api.Error) int {
	switch e.Code {
	case api.CodeDaemonUnreachable, api.CodeSocketForbidden, api.CodeUntrustedServer, api.CodeCertificateRefused:
		return exitUnreachable
	case api.CodeBadServerURL:
		return exitUsage
	case "image_refused", "digest_mismatch", "image_truncated", "image_reference_refused", "image_forbidden", "image_not_active",
		"image_is_a_page", "image_redirect_refused", "image_address_refused":
		return exitRefused
	case "image_changed":
		return exitLater
	}
	switch {
	case e.Status == 400 || e.Status == 422:
		return exitUsage
	case e.Status == 404:
		return exitNotFound
	case e.Status == 409:
		return exitConflict
	case e.Retryable:
		return exitLater
	}
	return exitError
}

// exitCodesTopic is "clonecache help exit-codes".
func exitCodesTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString("Every command ends with one of these exit codes:\n\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "%5d  %s\n", c.code, c.meaning)
	}
	b.WriteString("\nWith -o json an error is printed to standard output as {\"error\": {\"code\", \"message\", …}}.")
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: b.String()}
}
