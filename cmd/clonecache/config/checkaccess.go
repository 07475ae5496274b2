package config

import "fmt"

// secured tells whether a TCP listener asks who comes.
func (cfg *Config) secured() bool {
	return cfg.TokenFile != "" || len(cfg.Tokens) > 0 || len(cfg.Certificates) > 0 || cfg.API.Keystone.AuthURL != ""
}

// access checks who may come over TCP, and as what.
func (c *checker) access(cfg *Config) {
	files := map[SecretFile]bool{"": true, cfg.TokenFile: true, cfg.MetricsTokenFile: true}
	for i := range cfg.Tokens {
		t, at := &cfg.Tokens[i], fmt.Sprintf("token[%d]", i)
		t.File = SecretFile(absolute(c.file, string(t.File)))
		c.role(at, t.Role)
		switch {
		case t.File == "":
			c.problem(at+".file", "there is no file", "name the file that holds the token")
		case files[t.File]:
			c.problem(at+".file", fmt.Sprintf("%s has another role already", t.File), "give each role a token of its own")
		}
		files[t.File] = true
	}
	names := map[string]bool{"": true}
	for i, cert := range cfg.Certificates {
		at := fmt.Sprintf("certificate[%d]", i)
		c.role(at, cert.Role)
		if names[cert.Name] {
			c.problem(at+".name", fmt.Sprintf("%q is no name, or another one's", cert.Name), "give the common name of the certificate's subject")
		}
		names[cert.Name] = true
	}
	c.authority(cfg)
	c.keystone(cfg)
}

// authority checks that clients' certificates are checked where they count.
func (c *checker) authority(cfg *Config) {
	switch ca := cfg.TLS.ClientCAFile; {
	case ca == "" && len(cfg.Certificates) > 0:
		c.problem("certificate[0]", "no authority of clients' certificates is named", "set client_ca_file of [tls]")
	case ca != "" && cfg.TLS.CertFile == "":
		c.problem("tls.client_ca_file", "clients show their certificates where there is TLS alone", "give cert_file and key_file too")
	}
}

// role checks a word for what somebody may do.
func (c *checker) role(at, word string) {
	if word == "" {
		c.problem(at+".role", "there is no role", `give "reader", "operator" or "admin"`)
		return
	}
	c.oneOf(at+".role", word, RoleReader, RoleOperator, RoleAdmin)
}
