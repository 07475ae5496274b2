package config

import (
	"net/url"
	"strings"
)

// WarnOfRabbit is what is to be said of where RabbitMQ is, and what helps: AMQP without TLS shows the password to whoever can see
// the connection. "": nothing. A server on this very host is not seen by others.
func WarnOfRabbit(address string) (what, remedy string) {
	scheme, rest, _ := strings.Cut(address, "://")
	if scheme == "amqps" {
		return "", ""
	}
	servers, _, _ := strings.Cut(rest, "/")
	for _, server := range strings.Split(servers, ",") {
		if u, err := url.Parse("amqp://" + server); err == nil && u.Hostname() != "" && !isLoopback(u.Hostname()) {
			return "the password travels there unencrypted, and what is sent too", "use amqps://"
		}
	}
	return "", ""
}
