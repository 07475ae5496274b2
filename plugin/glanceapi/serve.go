package glanceapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// ListenConfig says where the API is served.
type ListenConfig struct {
	Addresses []string // host:port each
	// CertFile and KeyFile are PEM files; with them all is TLS. "": none is.
	CertFile, KeyFile string
}

// Listen listens on all addresses, or on none.
func Listen(ctx context.Context, c ListenConfig) ([]net.Listener, error) {
	var secure *tls.Config
	if c.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the certificate and key of [glance_api]: %w", err)
		}
		secure = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	}
	var all []net.Listener
	var lc net.ListenConfig
	for _, address := range c.Addresses {
		l, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen for Glance's clients on %s: %w", address, err), closeAll(all))
		}
		if secure != nil {
			l = tls.NewListener(l, secure)
		}
		all = append(all, l)
	}
	return all, nil
}

func closeAll(listeners []net.Listener) error {
	var problems []error
	for _, l := range listeners {
		problems = append(problems, l.Close())
	}
	return errors.Join(problems...)
}

// Serving is a Server on its listeners.
type Serving struct {
	http *http.Server
	wait func() error // until all listeners have ended; it may be called again
}

// Serve serves on listeners until Shutdown, which closes them.
func (s *Server) Serve(listeners []net.Listener) *Serving {
	const (
		headerTime  = 10 * time.Second
		idleTime    = 2 * time.Minute
		headerBytes = 64 << 10 // Glance takes 16 KiB a line
	)
	v := &Serving{http: &http.Server{
		Handler: s, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: headerBytes, ErrorLog: log.New(io.Discard, "", 0),
	}}
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		s.log.WithField("address", l.Addr().String()).Info("listening for Glance's clients")
		go func() { ended <- v.http.Serve(l) }()
	}
	v.wait = sync.OnceValue(func() (err error) {
		for range listeners {
			if one := <-ended; !errors.Is(one, http.ErrServerClosed) {
				err = errors.Join(err, one)
			}
		}
		return err
	})
	return v
}

// Shutdown lets nobody in any more, waits for those who are served until ctx ends, and cuts the others off. It may be
// repeated.
func (v *Serving) Shutdown(ctx context.Context) error {
	err := v.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		err = v.http.Close()
	}
	return errors.Join(err, v.wait())
}
