//go:build openstack

package glance_test

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/imagesource/glance"
)

// cloud is one of the lab's users.
type cloud struct {
	*gophercloud.ServiceClient // Glance
}

// enter logs in at the lab whose clouds.yaml CLONECACHE_LAB names, of e2e/openstack/lab.sh.
func enter(t *testing.T, name string) cloud {
	t.Helper()
	file := os.Getenv("CLONECACHE_LAB")
	if file == "" {
		t.Skip("no OpenStack lab: CLONECACHE_LAB names no clouds.yaml; see e2e/openstack/lab.sh")
	}
	ao, eo, tlsConfig, err := clouds.Parse(clouds.WithCloudName(name), clouds.WithLocations(file))
	must(t, err)
	const patience = time.Minute
	provider, err := config.NewProviderClient(t.Context(), ao, config.WithHTTPClient(http.Client{Timeout: patience}), config.WithTLSConfig(tlsConfig))
	must(t, err)
	client, err := openstack.NewImageV2(provider, eo)
	must(t, err)
	return cloud{client}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (c cloud) token() imagesource.Token { return imagesource.Token(c.Token()) }

// A cloud is an account whose token does not change.
type account struct{ cloud }

func (a account) Token(context.Context) (imagesource.Token, error) { return a.token(), nil }
func (a account) Renew(context.Context, imagesource.Token) (imagesource.Token, error) {
	return "", errors.New("no other token")
}
func (a account) Endpoint(context.Context) (string, error) { return a.ServiceClient.Endpoint, nil }
func (a account) Transport() (http.RoundTripper, error)    { return http.DefaultTransport, nil }

// upload makes an image of so many random bytes, queued where data is nil.
func (c cloud) upload(t *testing.T, data []byte) string {
	t.Helper()
	visibility := images.ImageVisibilityPrivate
	i, err := images.Create(t.Context(), c.ServiceClient, images.CreateOpts{
		Name: t.Name(), DiskFormat: "raw", ContainerFormat: "bare", Visibility: &visibility, MinDisk: 2,
	}).Extract()
	must(t, err)
	t.Cleanup(func() { images.Delete(context.WithoutCancel(t.Context()), c.ServiceClient, i.ID) })
	if data != nil {
		c.fill(t, i.ID, data, "file")
	}
	return i.ID
}

// fill uploads an image's data into one of Glance's stores.
func (c cloud) fill(t *testing.T, id string, data []byte, store string) {
	t.Helper()
	response, err := c.Put(t.Context(), c.ServiceURL("images", id, "file"), nil, nil, &gophercloud.RequestOpts{
		RawBody: bytes.NewReader(data), OkCodes: []int{http.StatusNoContent},
		MoreHeaders: map[string]string{"Content-Type": "application/octet-stream", "X-Image-Meta-Store": store},
	})
	must(t, err)
	response.Body.Close()
}

func random(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(rand.Int())
	}
	return data
}

func source(t *testing.T, of cloud) *glance.Source {
	t.Helper()
	s, err := glance.New(glance.Config{Name: "glance", Account: account{of}, Backoff: 10 * time.Millisecond})
	must(t, err)
	return s
}

func TestGlanceImageIsReadAsItIs(t *testing.T) {
	demo := enter(t, "demo")
	data := random(1 << 20)
	id := demo.upload(t, data)
	s := source(t, enter(t, "admin"))
	ctx := imagesource.WithToken(t.Context(), demo.token())
	image, err := s.Stat(ctx, id)
	must(t, err)
	sum := sha512.Sum512(data)
	if image.Digest.Hex != hex.EncodeToString(sum[:]) || image.SizeBytes != 1<<20 || image.MinDiskGiB != 2 || image.DiskFormat != "raw" || image.Domain == "" {
		t.Errorf("image is %+v", image)
	}
	before := image
	must(t, images.Update(t.Context(), demo.ServiceClient, id, images.UpdateOpts{images.ReplaceImageName{NewName: "renamed"}}).Err)
	if image, err = s.Stat(ctx, id); err != nil || image.Revision != before.Revision || image.Digest != before.Digest {
		t.Errorf("after it was renamed: %+v, %v", image, err)
	}
	r, err := s.Open(ctx, image)
	must(t, err)
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v; want the image", len(got), err)
	}
}

func TestGlanceStates(t *testing.T) {
	demo, other, admin := enter(t, "demo"), enter(t, "other"), enter(t, "admin")
	s := source(t, admin)
	id, queued := demo.upload(t, random(1000)), demo.upload(t, nil)
	stat := func(token imagesource.Token, id string) error {
		_, err := s.Stat(imagesource.WithToken(t.Context(), token), id)
		return err
	}
	if err := stat(other.token(), id); !errors.Is(err, imagesource.ErrNotFound) {
		t.Errorf("another project's private image: %v, want ErrNotFound", err)
	}
	if err := stat("gAAAAA-no-token", id); !errors.Is(err, imagesource.ErrForbidden) {
		t.Errorf("a wrong token: %v, want ErrForbidden", err)
	}
	if err := stat(demo.token(), queued); !errors.Is(err, imagesource.ErrNotActive) {
		t.Errorf("queued: %v, want ErrNotActive", err)
	}
	image, err := s.Stat(t.Context(), id)
	must(t, err)
	response, err := demo.Post(t.Context(), demo.ServiceURL("images", id, "actions", "deactivate"), nil, nil, &gophercloud.RequestOpts{OkCodes: []int{http.StatusNoContent}})
	must(t, err)
	response.Body.Close()
	for name, token := range map[string]imagesource.Token{"member": demo.token(), "administrator": ""} {
		if err := stat(token, id); !errors.Is(err, imagesource.ErrNotActive) {
			t.Errorf("deactivated, for the %s: %v, want ErrNotActive", name, err)
		}
	}
	if _, err := s.Open(imagesource.WithToken(t.Context(), demo.token()), image); !errors.Is(err, imagesource.ErrNotActive) {
		t.Errorf("open a deactivated image: %v, want ErrNotActive", err)
	}
	must(t, images.Delete(t.Context(), demo.ServiceClient, id).ExtractErr())
	for _, token := range []imagesource.Token{demo.token(), ""} {
		if err := stat(token, id); !errors.Is(err, imagesource.ErrNotFound) {
			t.Errorf("deleted: %v, want ErrNotFound", err)
		}
	}
}

// The file store has ranges, the rbd store has none: both are resumed.
func TestGlanceDownloadsAreResumed(t *testing.T) {
	demo := enter(t, "demo")
	for _, store := range []string{"file", "rbd"} {
		t.Run(store, func(t *testing.T) {
			data := random(8 << 20)
			id := demo.upload(t, nil)
			demo.fill(t, id, data, store)
			resumed(t, demo, id, data)
		})
	}
}

func resumed(t *testing.T, demo cloud, id string, data []byte) {
	t.Helper()
	cut := &cutting{after: 3 << 20}
	s, err := glance.New(glance.Config{Name: "glance", Account: cutAccount{account{demo}, cut}, Backoff: 10 * time.Millisecond})
	must(t, err)
	image, err := s.Stat(t.Context(), id)
	must(t, err)
	r, err := s.Open(t.Context(), image)
	must(t, err)
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, data) || cut.cuts != 1 {
		t.Errorf("read %d bytes after %d cuts, %v; want the image after one", len(got), cut.cuts, err)
	}
}

// cutAccount reaches Glance over connections that break once.
type cutAccount struct {
	account
	cut *cutting
}

func (a cutAccount) Transport() (http.RoundTripper, error) { return a.cut, nil }

// cutting breaks the first long answer off after so many bytes.
type cutting struct {
	after int64
	cuts  int
}

func (c *cutting) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && c.cuts == 0 && response.ContentLength > c.after {
		c.cuts++
		response.Body = &cutBody{io.LimitReader(response.Body, c.after), response.Body}
	}
	return response, err
}

type cutBody struct {
	io.Reader
	io.Closer
}

func (b *cutBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
