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
	for ticker, price := range closing {
		if parsed, err := ParseTicker(ticker); parsed != ticker || err != nil {
			t.Errorf("%s can never be asked for", ticker)
		}
		if parsed, err := parsePrice(price); parsed != price || err != nil {
			t.Errorf("%s: %s, %v", ticker, price, err)
		}
		want := Quote{Price: price, Origin: "sample", Day: SampleDay}
		if got, err := (Sample{}).Quote(ticker); got != want || err != nil {
			t.Errorf("%s: %+v, %v", ticker, got, err)
		}
	}
	if got, err := (Sample{}).Quote("NOPE"); got != (Quote{}) || err != ErrUnknown {
		t.Errorf("NOPE: %+v, %v", got, err)
	}
}
