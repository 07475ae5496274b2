package cindertest

import (
	"strings"
	"unicode/utf8"
)

// literal reads a map as Cinder does, by Python's ast.literal_eval, as far as texts between single quotes go. Not ok: Cinder takes
// the whole for a text, and finds no volume by it.
func literal(text string) (all map[string]string, ok bool) {
	rest, ok := strings.CutPrefix(text, "{")
	all = map[string]string{}
	for ok {
		var key, value string
		if key, rest, ok = quoted(rest); !ok {
			break
		}
		if rest, ok = strings.CutPrefix(strings.TrimLeft(rest, " "), ":"); !ok {
			break
		}
		if value, rest, ok = quoted(rest); !ok {
			break
		}
		all[key] = value
		if rest = strings.TrimLeft(rest, " "); rest == "}" {
			return all, true
		}
		rest, ok = strings.CutPrefix(rest, ",")
	}
	return nil, false
}

// quoted reads a text between single quotes, and hands out what is behind it.
func quoted(text string) (value, rest string, ok bool) {
	text, ok = strings.CutPrefix(strings.TrimLeft(text, " "), "'")
	if !ok {
		return "", "", false
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\'':
			return out.String(), text[i+1:], true
		case c == '\n':
			return "", "", false
		case c == '\\' && i+1 < len(text) && (text[i+1] == '\'' || text[i+1] == '\\'):
			i++
			out.WriteByte(text[i])
		case c == '\\' && i+1 < len(text) && text[i+1] == 't': // of Python's others, one is enough
			i++
			out.WriteByte('\t')
		default:
			out.WriteByte(c)
		}
	}
	return "", "", false
}

// longest is a name, or a value of metadata, in characters.
const longest = 255

func tooLong(metadata map[string]string) bool {
	for _, value := range metadata {
		if utf8.RuneCountInString(value) > longest {
			return true
		}
	}
	return false
}
