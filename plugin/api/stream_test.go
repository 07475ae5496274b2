package api_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

func TestProgressArrivesBeforeTheAnswer(t *testing.T) {
	fake, seen := newFake(), make(chan struct{})
	fake.create = func(ctx context.Context, r plugin.Request) (plugin.Answer, error) {
		r.Progress(plugin.Progress{Phase: "filling", ReadBytes: 5, TotalBytes: 10})
		select {
		case <-seen: // the client has it while the request still runs
			return plugin.Answer{Outcome: plugin.Filled}, nil
		case <-ctx.Done():
			return plugin.Answer{}, ctx.Err()
		}
	}
	d := startDaemon(t, fake, api.ServerConfig{})
	var got []plugin.Progress
	answer, err := d.client.CreateVolume(t.Context(), request(), func(p plugin.Progress) {
		got = append(got, p)
		close(seen)
	})
	if err != nil || answer.Outcome != plugin.Filled {
		t.Errorf("answer = %+v, %v", answer, err)
	}
	if len(got) != 1 || got[0].ReadBytes != 5 || got[0].Phase != "filling" {
		t.Errorf("progress = %+v", got)
	}
}

func TestOfFastProgressTheLatestIsSent(t *testing.T) {
	const updates = 100_000
	fake := newFake()
	fake.create = func(_ context.Context, r plugin.Request) (plugin.Answer, error) {
		for i := range int64(updates) {
			r.Progress(plugin.Progress{ReadBytes: i})
		}
		return plugin.Answer{Outcome: plugin.Filled}, nil
	}
	d := startDaemon(t, fake, api.ServerConfig{})
	last := int64(-1)
	if _, err := d.client.CreateVolume(t.Context(), request(), func(p plugin.Progress) {
		if p.ReadBytes <= last {
			t.Errorf("progress went from %d to %d", last, p.ReadBytes)
		}
		last = p.ReadBytes
	}); err != nil {
		t.Fatal(err)
	}
}

func TestAnErrorEndsTheStream(t *testing.T) {
	fake := newFake()
	fake.create = func(_ context.Context, r plugin.Request) (plugin.Answer, error) {
		r.Progress(plugin.Progress{Phase: "filling"})
		return plugin.Answer{}, imagesource.ErrUnavailable
	}
	d := startDaemon(t, fake, api.ServerConfig{})
	_, err := d.client.CreateVolume(t.Context(), request(), func(plugin.Progress) {})
	if e := apiError(t, err); e.Code != "image_source_unavailable" || !e.Retryable || e.Status != 503 || e.RequestID == "" {
		t.Errorf("error = %+v", e)
	}
}

func TestABadStreamRequestHasItsStatus(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	r := request()
	r.Digest = "md5:00"
	_, err := d.client.CreateVolume(t.Context(), r, func(plugin.Progress) {})
	if e := apiError(t, err); e.Code != "bad_request" || e.Status != 400 {
		t.Errorf("error = %+v", e)
	}
}

func TestCheckStreamsItsProgress(t *testing.T) {
	fake := newFake()
	fake.check = func(_ context.Context, o plugin.CheckOptions) (plugin.CheckResult, error) {
		if !o.Deep || o.Repair {
			t.Errorf("options = %+v, want deep alone", o)
		}
		o.Progress(3, 9)
		return plugin.CheckResult{OK: false, Problems: []plugin.Problem{{Kind: "content"}}}, nil
	}
	d := startDaemon(t, fake, api.ServerConfig{})
	var last api.CheckProgress
	result, err := d.client.Check(t.Context(), api.CheckRequest{Deep: true}, func(p api.CheckProgress) { last = p })
	if err != nil || result.OK || len(result.Problems) != 1 {
		t.Errorf("result = %+v, %v", result, err)
	}
	if last != (api.CheckProgress{ReadBytes: 3, TotalBytes: 9}) && last != (api.CheckProgress{}) {
		t.Errorf("progress = %+v", last)
	}
}

func TestAClientThatGoesAwayCancelsItsRequest(t *testing.T) {
	for name, onProgress := range map[string]func(plugin.Progress){"plain": nil, "streamed": func(plugin.Progress) {}} {
		t.Run(name, func(t *testing.T) {
			fake, began, gone := newFake(), make(chan struct{}), make(chan struct{})
			fake.create = func(ctx context.Context, _ plugin.Request) (plugin.Answer, error) {
				close(began)
				<-ctx.Done()
				close(gone)
				return plugin.Answer{}, ctx.Err()
			}
			d := startDaemon(t, fake, api.ServerConfig{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				<-began
				cancel()
			}()
			if _, err := d.client.CreateVolume(ctx, request(), onProgress); !errors.Is(err, context.Canceled) {
				t.Errorf("error = %v, want context.Canceled", err)
			}
			<-gone
		})
	}
}

// A deadline for the body that outlived the body would end the request's context.
func TestARequestMayOutlastTheTimeForItsBody(t *testing.T) {
	const patience = 3 * time.Second // within which a busy machine has sent the whole request
	fake := newFake()
	fake.create = func(ctx context.Context, _ plugin.Request) (plugin.Answer, error) {
		timer := time.NewTimer(2 * patience)
		defer timer.Stop()
		select {
		case <-timer.C:
			return plugin.Answer{Outcome: plugin.Filled}, nil
		case <-ctx.Done():
			return plugin.Answer{}, ctx.Err()
		}
	}
	d := startDaemon(t, fake, api.ServerConfig{BodyTimeout: patience, HeaderTimeout: patience})
	if answer, err := d.client.CreateVolume(t.Context(), request(), nil); err != nil || answer.Outcome != plugin.Filled {
		t.Errorf("answer = %+v, %v", answer, err)
	}
}
