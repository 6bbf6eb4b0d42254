package quote

import (
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
)

func TestParsePrice(t *testing.T) {
	const noPrice = "the quote provider's answer has no price where QUOTE_POINTER points"
	const noNumber = "the quote provider's price is not a number"
	const null = "unknown ticker: the quote provider's price is null"
	const zero = "unknown ticker: the quote provider's price is 0"
	const none = "unknown ticker: the quote provider's price is "
	for _, test := range []struct {
		value any
		want  json.Number
		err   string
	}{
		{json.Number("201.3600"), "201.3600", ""},
		{json.Number("201"), "201", ""},
		{json.Number("-37.63"), "-37.63", ""}, // oil, on 2020-04-20
		{json.Number("1e3"), "1e3", ""},
		{json.Number("1.5E-7"), "1.5E-7", ""},
		{json.Number("0.0001"), "0.0001", ""},
		{json.Number("201.36000061035156"), "201.36000061035156", ""},
		{"201.3600", "201.3600", ""},
		{"-37.63", "-37.63", ""},
		{"1234567.8", "1234567.8", ""},
		{json.Number("1.7976931348623157e308"), "1.7976931348623157e308", ""},
		{json.Number("5e-324"), "5e-324", ""},

		{nil, "", null},
		{json.Number("0"), "", zero},
		{json.Number("0.00"), "", zero},
		{json.Number("-0"), "", zero},
		{json.Number("0e5"), "", zero},
		{"0", "", zero},
		{"0.00", "", zero},
		{json.Number("1e-400"), "", zero}, // as ParseFloat and JavaScript have it
		{"", "", none + `""`},
		{"N/A", "", none + `"N/A"`},
		{"n/a", "", none + `"N/A"`},
		{"NA", "", none + `"NA"`},
		{"N/D", "", none + `"N/D"`},
		{"-", "", none + `"-"`},
		{" N/A\n", "", none + `"N/A"`},

		{"abc", "", noNumber},
		{"NaN", "", noNumber},
		{"Inf", "", noNumber},
		{"--", "", noNumber},
		{"N/A N/A", "", noNumber},
		{" 201.36", "", noNumber},
		{"$201.36", "", noNumber},
		{"1,201.36", "", noNumber},
		{".5", "", noNumber},
		{"5.", "", noNumber},
		{"+5", "", noNumber},
		{"007", "", noNumber},
		{"0x1F", "", noNumber},
		{"1_000", "", noNumber},
		{"1 000", "", noNumber},
		{"201,36", "", noNumber},
		{"1e", "", noNumber},
		{"201.36 USD", "", noNumber},
		{"€201.36", "", noNumber},
		{"٣", "", noNumber},
		{"1\n2", "", noNumber},
		{strings.Repeat("1", 65), "", noNumber},

		{json.Number("1e400"), "", noNumber}, // Infinity in JavaScript
		{json.Number("-1e400"), "", noNumber},
		{"1e400", "", noNumber},
		{json.Number("1e99999999999999999999"), "", noNumber},

		{true, "", noPrice},
		{false, "", noPrice},
		{map[string]any{}, "", noPrice},
		{[]any{json.Number("1")}, "", noPrice},
	} {
		got, err := parsePrice(test.value)
		if got != test.want || err == nil && test.err != "" || err != nil && err.Error() != test.err {
			t.Errorf("%#v: %q, %v, want %q, %s", test.value, got, err, test.want, test.err)
		}
		if test.want != "" && !json.Valid([]byte(got)) {
			t.Errorf("%#v: %q is no number in JSON", test.value, got)
		}
		var upstream *UpstreamError
		if test.want == "" && !errors.Is(err, ErrUnknown) && (!errors.As(err, &upstream) || upstream.Status != 502) {
			t.Errorf("%#v: %+v", test.value, err)
		}
	}
}

func TestFindPrice(t *testing.T) {
	const nothing = "unknown ticker: the quote provider's answer has nothing where QUOTE_POINTER points"
	const null = "unknown ticker: the quote provider's price is null"
	const noNumber = "the quote provider's price is not a number"
	for _, test := range []struct {
		pointer, body string
		want          json.Number
		err           string
	}{
		{"", "201.3600", "201.3600", ""},
		{"", "201.36\n", "201.36", ""},
		{"", `"201.36"`, "201.36", ""},
		{"", "", "", "unknown ticker: the quote provider's price is \"\""},
		{"", "\n", "", "unknown ticker: the quote provider's price is \"\""},
		{"", "null", "", null},
		{"", "N/A\r\n", "", "unknown ticker: the quote provider's price is \"N/A\""},
		{"", `"N/D"`, "", "unknown ticker: the quote provider's price is \"N/D\""},
		{"/price", `{"price":"NA"}`, "", "unknown ticker: the quote provider's price is \"NA\""},
		{"", "\ufeff1", "", noNumber},
		{"", "1 2", "", noNumber},
		{"", "<html>1</html>", "", noNumber},
		{"", `{"price":1}`, "", "the quote provider's answer has no price where QUOTE_POINTER points"},

		{"/price", `{"price":201.3600}`, "201.3600", ""},
		{"/price", `{"price":1e400}`, "", noNumber},
		{"/price", `{"price":null}`, "", null},
		{"/price", `{"Price":1}`, "", nothing},
		{"/price", `[]`, "", nothing},
		{"/price", `null`, "", nothing},
		{"/price", `{"price":{"raw":1}}`, "", "the quote provider's answer has no price where QUOTE_POINTER points"},
		{"/price", "", "", "the quote provider's answer is not JSON"},
		{"/price", `{"price":1`, "", "the quote provider's answer is not JSON"},
		{"/price", `{"price":1} x`, "", "the quote provider's answer is not JSON"},
		{"/price", `{"price":1}{"price":2}`, "", "the quote provider's answer is not JSON"},
		{"/price", "<html>1</html>", "", "the quote provider's answer is not JSON"},
		{"/price", strings.Repeat(`{"price":`, 100_000), "", "the quote provider's answer is not JSON"},
	} {
		pointer, err := ParsePointer(test.pointer)
		if err != nil {
			t.Fatal(err)
		}
		got, err := findPrice([]byte(test.body), pointer)
		if got != test.want || err == nil && test.err != "" || err != nil && err.Error() != test.err {
			t.Errorf("%.30q at %q: %q, %v, want %q, %s", test.body, test.pointer, got, err, test.want, cmp.Or(test.err, "no error"))
		}
	}
}

// What the cache keeps of an answer is the price, not the answer around it.
func TestKeptPriceIsSmall(t *testing.T) {
	body := []byte(strings.Repeat(" ", maxBody-1) + "1")
	heap := func() uint64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := heap()
	var kept [2]json.Number
	for i := range kept {
		var err error
		if kept[i], err = findPrice(body, nil); kept[i] != "1" || err != nil {
			t.Fatal(kept[i], err)
		}
	}
	if after := heap(); after > before+maxBody {
		t.Errorf("%d prices keep %d bytes", len(kept), after-before)
	}
	runtime.KeepAlive(kept)
	runtime.KeepAlive(body)
}

// What is taken for a price is a number to those who get it, and what is
// refused is not repeated.
func FuzzPrice(f *testing.F) {
	for _, answer := range []string{
		"201.36", "-1201.36\n", "1e400", "1e-400", "0x1F", "Inf", "NaN", "1_000", "\ufeff1", "007", `{"price":1}`, "null", "N/A", "\"5\"", "<html>",
	} {
		f.Add(answer)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		price, err := findPrice([]byte(answer), nil)
		if err != nil {
			if price != "" || len(answer) > 20 && strings.Contains(err.Error(), answer) {
				t.Errorf("%q: %q, %v", answer, price, err)
			}
			return
		}
		var number float64
		if err := json.Unmarshal([]byte(price), &number); err != nil || number == 0 || math.IsInf(number, 0) {
			t.Errorf("%q: %q is %v to a client, %v", answer, price, number, err)
		}
		if again, err := findPrice([]byte(price), nil); again != price || err != nil {
			t.Errorf("%q: %q is %q, %v when it is read again", answer, price, again, err)
		}
	})
}
