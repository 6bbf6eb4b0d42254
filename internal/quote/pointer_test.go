package quote

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func decode(t *testing.T, text string) any {
	t.Helper()
	var doc any
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestPointer(t *testing.T) {
	const rfc6901 = `{
		"foo": ["bar", "baz"],
		"": 0,
		"a/b": 1,
		"c%d": 2,
		"e^f": 3,
		"g|h": 4,
		"i\\j": 5,
		"k\"l": 6,
		" ": 7,
		"m~n": 8
	}`
	for _, test := range []struct {
		doc, pointer, want string // want is JSON, or empty for nothing there
	}{
		// every example of RFC 6901, section 5
		{rfc6901, "", rfc6901},
		{rfc6901, "/foo", `["bar", "baz"]`},
		{rfc6901, "/foo/0", `"bar"`},
		{rfc6901, "/", `0`},
		{rfc6901, "/a~1b", `1`},
		{rfc6901, "/c%d", `2`},
		{rfc6901, "/e^f", `3`},
		{rfc6901, "/g|h", `4`},
		{rfc6901, `/i\j`, `5`},
		{rfc6901, `/k"l`, `6`},
		{rfc6901, "/ ", `7`},
		{rfc6901, "/m~0n", `8`},

		{`{"~1": 1}`, "/~01", `1`}, // ~0 last, so that ~01 is not a slash
		{`{"": {"": 1}}`, "//", `1`},
		{`{"a": null}`, "/a", `null`},
		{`{"0": 1, "-": 2, "01": 3}`, "/0", `1`},
		{`{"0": 1, "-": 2, "01": 3}`, "/-", `2`},
		{`{"0": 1, "-": 2, "01": 3}`, "/01", `3`},
		{`[{"a": [1, 2]}]`, "/0/a/1", `2`},

		{`{"a": 1}`, "/b", ""},
		{`{"a": 1}`, "/A", ""},
		{`{"a": 1}`, "/", ""},
		{`{"a": 1}`, "/a/", ""},
		{`{"a": 1}`, "/a/b", ""},
		{`{"a": "text"}`, "/a/0", ""},
		{`{"a": null}`, "/a/b", ""},
		{`1`, "/0", ""},
		{`[]`, "/0", ""},
		{`[1, 2]`, "/", ""},
		{`[1, 2]`, "/2", ""},
		{`[1, 2]`, "/-", ""},
		{`[1, 2]`, "/-1", ""},
		{`[1, 2]`, "/-0", ""},
		{`[1, 2]`, "/01", ""},
		{`[1, 2]`, "/+1", ""},
		{`[1, 2]`, "/1 ", ""},
		{`[1, 2]`, "/1.0", ""},
		{`[1, 2]`, "/1e0", ""},
		{`[1, 2]`, "/x", ""},
		{`[1, 2]`, "/18446744073709551616", ""},
	} {
		pointer, err := ParsePointer(test.pointer)
		if err != nil {
			t.Errorf("%q: %v", test.pointer, err)
			continue
		}
		got, found := pointer.Find(decode(t, test.doc))
		if found != (test.want != "") || found && !reflect.DeepEqual(got, decode(t, test.want)) {
			t.Errorf("%q in %s: %v, %t, want %s", test.pointer, test.doc, got, found, test.want)
		}
	}
}

func TestBadPointers(t *testing.T) {
	for pointer, want := range map[string]string{
		"price":   "begins with a slash",
		"#/price": "begins with a slash",
		" /price": "begins with a slash",
		"~1price": "begins with a slash",
		"/~":      "~ is written ~0",
		"/a~":     "~ is written ~0",
		"/a~2":    "~ is written ~0",
		"/~~":     "~ is written ~0",
		"/~~0":    "~ is written ~0",
		"/~/0":    "~ is written ~0",
		"/a/b~c":  "~ is written ~0",
	} {
		if got, err := ParsePointer(pointer); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v", pointer, got, err)
		}
	}
}

// Nothing panics, a pointer that parses is written back as it came, and a
// pointer to each value of the document finds it.
func FuzzPointer(f *testing.F) {
	for _, pointer := range []string{"", "/", "/0/a~1b", "/~01", "/chart/result/0/meta/regularMarketPrice", "price", "/~"} {
		f.Add(pointer, `[{"a/b": {"~1": [1, null]}, "": [[]], "0": "x"}]`)
	}
	escaper := strings.NewReplacer("~", "~0", "/", "~1")

	var check func(t *testing.T, root, value any, path string)
	check = func(t *testing.T, root, value any, path string) {
		pointer, err := ParsePointer(path)
		if err != nil {
			t.Fatalf("%q: %v", path, err)
		}
		if got, ok := pointer.Find(root); !ok || !reflect.DeepEqual(got, value) {
			t.Fatalf("%q: %v, %t, want %v", path, got, ok, value)
		}
		switch v := value.(type) {
		case map[string]any:
			for name, member := range v {
				check(t, root, member, path+"/"+escaper.Replace(name))
			}
		case []any:
			for i, element := range v {
				check(t, root, element, path+"/"+strconv.Itoa(i))
			}
			for _, none := range []string{"-", strconv.Itoa(len(v)), "-1", "00"} {
				if got, ok := append(slices.Clone(pointer), none).Find(root); ok {
					t.Fatalf("%q %s: %v", path, none, got)
				}
			}
		}
	}

	f.Fuzz(func(t *testing.T, text, document string) {
		pointer, err := ParsePointer(text)
		if err == nil {
			written := ""
			for _, token := range pointer {
				written += "/" + escaper.Replace(token)
			}
			if written != text {
				t.Errorf("%q is %q, which is %q", text, pointer, written)
			}
		}
		var doc any
		if len(document) > 1000 || json.Unmarshal([]byte(document), &doc) != nil {
			return
		}
		pointer.Find(doc)
		check(t, doc, doc, "")
	})
}
