package glanceapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// unauthorizedText is what Glance's middleware says to whom brings no token, or none that is valid.
const unauthorizedText = "This server could not verify that you are authorized to access the document you requested. " +
	"Either you supplied the wrong credentials (e.g., bad password), or your browser does not understand how to supply the credentials required."

// refuse answers with an error as Glance writes it: as HTML or JSON, whichever a client takes, else as plain text.
func refuse(w http.ResponseWriter, r *http.Request, status int, text string) {
	title := http.StatusText(status)
	head := fmt.Sprintf("%d %s", status, title)
	kind, body := "text/plain; charset=UTF-8", head+"\n\n"+plain(explained(status, text))
	switch accepted(r.Header.Values("Accept")) {
	case "html":
		kind = "text/html; charset=UTF-8"
		body = fmt.Sprintf("<html>\n <head>\n  <title>%s</title>\n </head>\n <body>\n  <h1>%s</h1>\n  %s\n </body>\n</html>", head, head, explained(status, escapes.Replace(text)))
	case "json":
		text, _ := json.Marshal(map[string]string{"message": explained(status, text), "code": head, "title": title}) // strings always can be
		kind, body = "application/json", string(text)
	}
	if r.Method == http.MethodHead {
		kind, body = "text/html; charset=UTF-8", ""
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // whom it does not reach has gone
}

// explained is a text with what Glance's library writes behind it.
func explained(status int, text string) string {
	if status == http.StatusMethodNotAllowed {
		return text + " <br /><br />\n"
	}
	return text + "<br /><br />\n\n\n"
}

// escapes are those of Glance's library.
var escapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#x27;")

var (
	lineBreaks = regexp.MustCompile(`(?is)<br.*?>`)
	tags       = regexp.MustCompile(`(?s)<!--|-->|<.*?>`)
)

// plain is HTML without its tags, as Glance's library reads it.
func plain(text string) string {
	text = strings.NewReplacer("\n", " ", "\r", "").Replace(text)
	return tags.ReplaceAllString(lineBreaks.ReplaceAllString(text, "\n"), "")
}

// empty answers that something was done, and says no more. Clients would try to read an empty body as JSON.
func empty(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	if status != http.StatusNoContent {
		w.Header().Set("Content-Length", "0")
	}
	w.WriteHeader(status)
}

// writeJSON answers with a value.
func writeJSON(w http.ResponseWriter, status int, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		panic("an answer that is no JSON: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text) // whom it does not reach has gone
}
