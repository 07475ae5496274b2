// Package glanceapi speaks Glance's API in front of Glance: its cache API, for the operators of an image cache, and the
// data of images from the file cache. Everything else is passed on to Glance as it came.
//
// Glance itself authorises: the cache API asks Keystone whose a token is, and for an image's metadata and data Glance is
// asked with the caller's own token at each request. A doubt, or an error of the cache, ends in Glance's own answer. The
// package keeps nothing on disk, so a crash leaves nothing.
//
// Sources: Glance's API reference, version 2, and the answers of Glance 25.1.
package glanceapi
