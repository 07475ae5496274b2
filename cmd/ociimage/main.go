// Command ociimage makes a container image from a static program, without a container engine: a file with
// an OCI image layout that podman, skopeo and containerd load.
//
//	ociimage -program FILE -version V -out FILE.oci.tar
//
// The image has no shell and no distribution: the program, certificates of well-known authorities, the
// user's name, and empty directories for state, cache, volumes, images and the socket. The same input and
// SOURCE_DATE_EPOCH give the same bytes. The format is that of github.com/opencontainers/image-spec.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"
)

// options are the command line.
type options struct {
	program, version, out string
	certificates          string
	made                  time.Time
}

func main() {
	var o options
	flag.StringVar(&o.program, "program", "", "the static program")
	flag.StringVar(&o.version, "version", "", "its version, which is the image's tag too")
	flag.StringVar(&o.out, "out", "", "the file to write")
	flag.StringVar(&o.certificates, "certificates", "/etc/ssl/certs/ca-certificates.crt", "authorities that the program trusts; \"\": none")
	flag.Parse()
	if o.program == "" || o.version == "" || o.out == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		seconds = time.Now().Unix()
	}
	o.made = time.Unix(seconds, 0).UTC()
	if err := write(o); err != nil {
		fmt.Fprintln(os.Stderr, "ociimage:", err)
		os.Exit(1)
	}
}
