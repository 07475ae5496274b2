package glanceapi

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"strings"
)

// unauthorizedText is what Glance's middleware says to whom brings no token, or none that is valid.
const unauthorizedText = "This server could not verify that you are authorized to access the document you requested. " +
	"Either you supplied the wrong credentials (e.g., bad password), or your browser does not understand how to supply the credentials required."

// refuse answers with an error as Glance writes it: HTML, or JSON or plain text for whom asks for that.
func refuse(w http.ResponseWriter, r *http.Request, status int, text string) {
	title := http.StatusText(status)
	head := fmt.Sprintf("%d %s", status, title)
	explained := html.EscapeString(text) + "<br /><br />\n\n\n"
	kind, body := "text/html; charset=UTF-8", fmt.Sprintf("<html>\n <head>\n  <title>%s</title>\n </head>\n <body>\n  <h1>%s</h1>\n  %s\n </body>\n</html>", head, head, explained)
	switch accepted(r.Header.Get("Accept")) {
	case "json":
		text, _ := json.Marshal(map[string]string{"message": explained, "code": head, "title": title}) // strings always can be
		kind, body = "application/json", string(text)
	case "text":
		kind, body = "text/plain; charset=UTF-8", head+"\n\n"+text+"\n\n   \n"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(body)) // whom it does not reach has gone
	}
}

// accepted is the form in which a client takes errors: "html", "json" or "text".
func accepted(header string) string {
	switch {
	case header == "" || strings.Contains(header, "*/*") || strings.Contains(header, "text/html") || strings.Contains(header, "text/*;"):
		return "html"
	case strings.Contains(header, "json"):
		return "json"
	}
	return "text"
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
