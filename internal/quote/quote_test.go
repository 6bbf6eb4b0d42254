package quote

import "testing"

func TestParseTicker(t *testing.T) {
	for s, want := range map[string]string{
		"AAPL":            "AAPL",
		"aapl":            "AAPL",
		"a":               "A",
		"BRK.B":           "BRK.B",
		"brk-b":           "BRK-B",
		"^GSPC":           "^GSPC",
		"eurusd=x":        "EURUSD=X",
		"0700.HK":         "0700.HK",
		"ABCDEFGHIJKLMNO": "ABCDEFGHIJKLMNO",
	} {
		if got, err := ParseTicker(s); got != want || err != nil {
			t.Errorf("%q: %q, %v, want %q", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "ABCDEFGHIJKLMNOP", "A B", " A", "A\n", "A/B", "A\\B", "A%42", "A+B", "A&B", "A?B", "A#B", "A_B", "A:B",
		"{ticker}", "A\x00", "日本", "ſ", "\u212a", "A\xff", ".", "..", "...", "-", "^=.-",
	} {
		if got, err := ParseTicker(s); got != "" || err != ErrTicker {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
}

func TestSample(t *testing.T) {
	for ticker, q := range closing {
		if parsed, err := ParseTicker(ticker); parsed != ticker || err != nil {
			t.Errorf("%s can never be asked for", ticker)
		}
		if price, err := parsePrice(q.Price); price != q.Price || err != nil {
			t.Errorf("%s: %s, %v", ticker, q.Price, err)
		}
		if got, err := (Sample{}).Quote(t.Context(), ticker); got != q || err != nil || q.Origin != "sample" || q.Day != SampleDay {
			t.Errorf("%s: %+v, %v", ticker, got, err)
		}
	}
	if got, err := (Sample{}).Quote(t.Context(), "NOPE"); got != (Quote{}) || err != ErrUnknown {
		t.Errorf("NOPE: %+v, %v", got, err)
	}
}
