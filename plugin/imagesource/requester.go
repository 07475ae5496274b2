package imagesource

import "context"

// Token is what a requester proves itself with to the image's source: under OpenStack a Keystone token.
// It prints as [secret], and is neither stored nor logged.
type Token string

// String hides the token.
func (Token) String() string { return "[secret]" }

// GoString hides the token.
func (Token) GoString() string { return "[secret]" }

type tokenKey struct{}

// WithToken returns a context in which sources act with the requester's token instead of their own
// account. An empty token changes nothing.
func WithToken(ctx context.Context, t Token) context.Context {
	if t == "" {
		return ctx
	}
	return context.WithValue(ctx, tokenKey{}, func() Token { return t })
}

// WithTokens returns a context in which next names the token to act with at the moment: a fill goes on
// with the next waiter's when its first caller has gone. next may be called from several goroutines and
// returns "" where nobody has brought one.
func WithTokens(ctx context.Context, next func() Token) context.Context {
	return context.WithValue(ctx, tokenKey{}, next)
}

// TokenOf returns the requester's token, or "".
func TokenOf(ctx context.Context) Token {
	if next, ok := ctx.Value(tokenKey{}).(func() Token); ok {
		return next()
	}
	return ""
}
