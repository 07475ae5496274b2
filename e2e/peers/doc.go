// Package peers runs unit tests that Cinder's developers wrote, once on Cinder's own volume drivers and
// once on ours in their place. Ours may fail none that Cinder's pass.
//
// It needs Cinder with its unit tests (Debian: python3-cinder, python3-oslotest, python3-ddt), and no
// service.
package peers
