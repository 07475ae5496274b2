package config

import (
	"encoding"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
)

// decoder copies a parsed TOML document into a struct. Other than the library's own decoder it goes on
// after a bad value, so that one run reports them all.
type decoder struct {
	problem  func(key, what, remedy string)
	registry Registry
	set      map[string]bool // keys that the file gives, such as "backend[0].path"
}

// table reads doc into the struct dst; at is doc's own key, "" for the whole document.
func (d *decoder) table(doc map[string]any, dst reflect.Value, at string) {
	if v, ok := dst.Addr().Interface().(interface{ setDefaults() }); ok {
		v.setDefaults()
	}
	fields := fieldsByKey(dst)
	others := d.ofKind(doc, dst, at, fields)
	for key, value := range doc {
		full := join(at, key)
		if field, known := fields[key]; known {
			d.set[full] = true
			d.value(value, field, full)
		} else {
			d.unknown(key, full, fields, others)
		}
	}
}

// unknown reports a key that the table has not: that of another kind, or none at all. Where the table's kind is not
// known, keys of any kind may be its.
func (d *decoder) unknown(key, full string, fields map[string]reflect.Value, f foreign) {
	has, isForeign := f.keys[key]
	switch {
	case !isForeign:
		d.problem(full, "unknown key", suggestion(key, fields))
	case f.to != "":
		d.problem(full, fmt.Sprintf("it has no meaning for kind %q", f.to), "remove it; "+has)
	}
}

// value reads one TOML value into dst.
func (d *decoder) value(value any, dst reflect.Value, at string) {
	if text, ok := dst.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(value, text, at)
		return
	}
	switch dst.Kind() {
	case reflect.Struct:
		if doc, ok := value.(map[string]any); ok {
			d.table(doc, dst, at)
			return
		}
	case reflect.Slice:
		if d.list(value, dst, at) {
			return
		}
	case reflect.String:
		if s, ok := value.(string); ok {
			dst.SetString(s)
			return
		}
	case reflect.Bool:
		if b, ok := value.(bool); ok {
			dst.SetBool(b)
			return
		}
	case reflect.Int, reflect.Int64:
		if n, ok := value.(int64); ok && !dst.OverflowInt(n) {
			dst.SetInt(n)
			return
		}
	default:
		panic("no such field in a configuration: " + dst.Type().String())
	}
	d.problem(at, describe(value)+" where "+wanted(dst)+" is wanted", "")
}

// text reads a value that is written as a string, or for a Size as a number too.
func (d *decoder) text(value any, dst encoding.TextUnmarshaler, at string) {
	var text string
	switch v := value.(type) {
	case string:
		text = v
	case int64:
		if _, isSize := dst.(*Size); !isSize {
			d.problem(at, describe(value)+" where a string is wanted", quoted(v, dst))
			return
		}
		text = fmt.Sprint(v)
	default:
		d.problem(at, describe(value)+" where a string is wanted", "")
		return
	}
	if err := dst.UnmarshalText([]byte(text)); err != nil {
		what, remedy, _ := strings.Cut(err.Error(), ": ")
		d.problem(at, what, remedy)
	}
}

// quoted is how a number is written where a string is wanted; "" where it never is one.
func quoted(n int64, dst encoding.TextUnmarshaler) string {
	switch dst.(type) {
	case *Duration:
		return fmt.Sprintf("put it in quotes, with its unit: \"%d…\"", n)
	case *FileMode:
		return fmt.Sprintf("put it in quotes: \"%04d\"", n)
	}
	return ""
}

// list reads an array, or an array of tables; false where value is neither.
func (d *decoder) list(value any, dst reflect.Value, at string) bool {
	var items []any
	switch v := value.(type) {
	case []any:
		items = v
	case []map[string]any:
		for _, item := range v {
			items = append(items, item)
		}
	default:
		return false
	}
	out := reflect.MakeSlice(dst.Type(), len(items), len(items))
	for i, item := range items {
		d.value(item, out.Index(i), fmt.Sprintf("%s[%d]", at, i))
	}
	dst.Set(out)
	return true
}

// fieldsByKey are a struct's fields by their TOML keys, those of embedded structs among them.
func fieldsByKey(v reflect.Value) map[string]reflect.Value {
	fields := make(map[string]reflect.Value)
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			maps.Copy(fields, fieldsByKey(v.Field(i)))
			continue
		}
		if key := v.Type().Field(i).Tag.Get("toml"); key != "" && key != "-" {
			fields[key] = v.Field(i)
		}
	}
	return fields
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

// describe names a TOML value's type for people.
func describe(value any) string {
	switch v := value.(type) {
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case int64:
		if v > math.MaxInt32 || v < math.MinInt32 {
			return "a number as large as that"
		}
		return "a number"
	case float64:
		return "a fraction"
	case map[string]any:
		return "a table"
	case []any, []map[string]any:
		return "a list"
	}
	return "a date"
}

// wanted names what a field takes, for people.
func wanted(dst reflect.Value) string {
	switch dst.Kind() {
	case reflect.Struct:
		return "a table"
	case reflect.Slice:
		if dst.Type().Elem().Kind() == reflect.Struct && dst.Type().Elem() != reflect.TypeFor[Listen]() {
			return "a list of tables ([[…]])"
		}
		return "a list"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	default:
		return "a whole number"
	}
}

// suggestion is the remedy for an unknown key: the known one that is most like it, else all of them.
func suggestion(key string, fields map[string]reflect.Value) string {
	var known []string
	for name := range fields {
		known = append(known, name)
	}
	slices.Sort(known)
	for _, name := range known {
		if distance(key, name) <= 2 {
			return "did you mean " + name + "?"
		}
	}
	return "known here: " + strings.Join(known, ", ")
}

// distance is how many letters must be added, dropped or changed to make a of b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
