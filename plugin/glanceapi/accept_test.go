package glanceapi

import "testing"

// The forms are those that Glance's library chose for the same headers.
func TestTheFormOfErrorsIsChosenAsGlanceChoosesIt(t *testing.T) {
	for header, want := range map[string]string{
		"": "text", "*/*": "html", "text/html": "html", "application/json": "json", "text/plain": "text", "application/json, */*": "html",
		"application/json, text/html": "html", "application/json;q=0.5, text/html;q=0.4": "json", "text/*": "html", "application/*": "json",
		"text/html;q=0, */*": "json", "application/json;q=0, */*;q=0.1": "html", "text/html;level=1": "text", "text/plain, */*;q=0.1": "html",
		"nonsense": "html", "text/html;q=x, application/json": "html", "*/*;q=0": "text", "TEXT/HTML": "html", "image/*": "text",
		"application/json, text/plain, */*": "html", "application/octet-stream": "text", "text/*;q=0.5, application/json": "json",
	} {
		if got := accepted([]string{header}); got != want {
			t.Errorf("Accept: %s: got %s, want %s", header, got, want)
		}
	}
	if got := accepted(nil); got != "text" {
		t.Errorf("no header: got %s, want text", got)
	}
}
