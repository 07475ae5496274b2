package api_test

import (
	"strings"
	"testing"

	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

func TestTheRequestersTokenComesInAHeaderAndIsNotLogged(t *testing.T) {
	const secret = imagesource.Token("gAAAAABsecret")
	fake := newFake()
	d := startDaemon(t, fake, api.ServerConfig{})
	for _, r := range []api.CreateRequest{
		{Image: "lib:a", Volume: "v1", Token: secret},
		{Image: "lib:a", Volume: "v2", Token: secret, Backend: "local", ImageVirtualBytes: 4096},
		{Image: "lib:a", Volume: "v3"},
	} {
		if _, err := d.client.CreateVolume(t.Context(), r, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []imagesource.Token{secret, secret, ""} {
		if got := fake.asked[i].Token; got != want {
			t.Errorf("request %d: got token %q, want %q", i, string(got), string(want))
		}
	}
	if got := fake.asked[1].ImageVirtualBytes; got != 4096 {
		t.Errorf("got a disk of %d bytes, want 4096", got)
	}
	_, err := d.client.CreateVolume(t.Context(), api.CreateRequest{Image: "lib:a", Volume: "v4", Token: secret + imagesource.Token(strings.Repeat("x", 20000))}, nil)
	if err == nil || strings.Contains(err.Error(), string(secret)) {
		t.Errorf("a token that is too long: got %v, want an error without it", err)
	}
	if log := d.log.String(); log == "" || strings.Contains(log, string(secret)) {
		t.Errorf("the debug log has the token, or nothing: %s", log)
	}
}
