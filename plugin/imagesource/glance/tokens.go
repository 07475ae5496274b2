package glance

import (
	"context"
	"fmt"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// tokens are those that one call of the source may act with: the requester's, then, once it was accepted
// or where nobody brought one, the account's.
type tokens struct {
	account  Account
	rejected map[imagesource.Token]bool
	renewed  bool // the account's token was rejected, and renewed once
	accepted bool // the requester was let in before: the account may act for it
}

// next is the token to act with. ErrForbidden: the requester's are not accepted. ErrUnavailable: nor is
// the account's, or there is none to be had.
func (t *tokens) next(ctx context.Context) (imagesource.Token, error) {
	theirs := imagesource.TokenOf(ctx)
	if theirs != "" && !t.rejected[theirs] {
		return theirs, nil
	}
	if theirs != "" && !t.accepted {
		return "", fmt.Errorf("%w: Glance does not accept the requester's token (401): it has expired, or another Keystone gave it", imagesource.ErrForbidden)
	}
	mine, err := t.account.Token(ctx)
	if err != nil {
		return "", unavailable(ctx, err)
	}
	if t.rejected[mine] {
		if t.renewed {
			return "", fmt.Errorf("%w: Glance does not accept the account's token (401): is it of the same Keystone?", imagesource.ErrUnavailable)
		}
		t.renewed = true
		if mine, err = t.account.Renew(ctx, mine); err != nil {
			return "", unavailable(ctx, err)
		}
	}
	return mine, nil
}

// reject notes that Glance does not accept a token.
func (t *tokens) reject(token imagesource.Token) {
	if t.rejected == nil {
		t.rejected = make(map[imagesource.Token]bool)
	}
	t.rejected[token] = true
}
