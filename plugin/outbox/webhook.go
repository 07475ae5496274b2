package outbox

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/clonecache/clonecache/plugin"
)

// The headers of a webhook's request.
const (
	// SignatureHeader has "sha256=" and the HMAC-SHA256, in hex, of the timestamp, a dot and the body.
	SignatureHeader = "Clonecache-Signature"
	// TimestampHeader is when it was signed, in seconds since 1970: a receiver refuses what is old.
	TimestampHeader = "Clonecache-Timestamp"
	// EventHeader names the event: who has seen it throws a second one away.
	EventHeader = "Clonecache-Event"
)

// Webhook posts each event as JSON to a URL. It follows no redirect. A status below 300 takes it; 408, 429 and those from 500 on are
// tried again; others refuse it.
type Webhook struct {
	URL    string
	Secret func() ([]byte, error) // read each time: the file may have changed
	Client *http.Client           // its redirects are not followed
	Now    func() time.Time       // default: time.Now
}

// errNoSecret: what anybody could sign is signed by nobody.
var errNoSecret = errors.New("secret_file is empty: write the secret into it")

// Send implements Sender.
func (w Webhook) Send(ctx context.Context, e plugin.Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	secret, err := w.Secret()
	if err == nil && len(secret) == 0 {
		err = errNoSecret
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	now := time.Now
	if w.Now != nil {
		now = w.Now
	}
	at := strconv.FormatInt(now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "clonecache")
	req.Header.Set(EventHeader, fmt.Sprintf("%s/%d", e.Host, e.ID))
	req.Header.Set(TimestampHeader, at)
	req.Header.Set(SignatureHeader, Sign(secret, at, body))
	resp, err := w.Client.Do(req)
	if err != nil {
		return cause(err)
	}
	defer resp.Body.Close()
	const patience = time.Second // the status has said it all; the rest is read so that the connection is used again
	enough := time.AfterFunc(patience, cancel)
	defer enough.Stop()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	return answered(resp.StatusCode)
}

// Sign is what SignatureHeader has.
func Sign(secret []byte, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// answered says what a status means for the event.
func answered(status int) error {
	switch {
	case status < 300:
		return nil
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return fmt.Errorf("answered %d", status)
	}
	return fmt.Errorf("%w: answered %d", ErrRefused, status)
}
