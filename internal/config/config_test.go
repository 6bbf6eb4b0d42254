package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/knative-sample/rest-api-go/internal/quote"
	"github.com/knative-sample/rest-api-go/internal/rehearsal"
	"github.com/knative-sample/rest-api-go/internal/stock"
)

type env map[string]string

func (e env) get(name string) string { return e[name] }

func TestLoad(t *testing.T) {
	template, _ := quote.ParseTemplate("https://api.example.com:8443/{ticker}?k={key}", "secret")
	for _, test := range []struct {
		name string
		env  env
		want Config
	}{
		{"nothing set", env{}, Config{
			Port:     8080,
			Revision: stock.Revision{Resource: "NOT SPECIFIED", Name: "NOT SPECIFIED"},
			QuoteTTL: 10 * time.Second,
		}},
		{"everything set", env{
			"PORT":          "65535",
			"RESOURCE":      "v2",
			"K_REVISION":    "stock-service-example-v2",
			"HOSTNAME":      "stock-service-example-v2-deployment-7d9f8-abcde",
			"QUOTE_URL":     "https://api.example.com:8443/{ticker}?k={key}",
			"QUOTE_KEY":     "secret",
			"QUOTE_POINTER": "/a/0",
			"QUOTE_TTL":     "1h30m",
			"LATENCY":       "250ms",
			"ERROR_RATE":    "0.5",
			"SPLIT":         "v1=40,v2=60",
		}, Config{
			Port: 65535,
			Revision: stock.Revision{
				Resource: "v2",
				Name:     "stock-service-example-v2",
				Pod:      "stock-service-example-v2-deployment-7d9f8-abcde",
				Fault:    stock.Fault{Latency: 250 * time.Millisecond, Rate: 0.5},
			},
			Split:        rehearsal.Split{{Tag: "v1", Percent: 40}, {Tag: "v2", Percent: 60}},
			QuoteURL:     template,
			QuotePointer: quote.Pointer{"a", "0"},
			QuoteTTL:     90 * time.Minute,
		}},
		{"HOSTNAME is some machine's", env{"RESOURCE": "GET {x...} 日本", "HOSTNAME": "laptop", "PORT": "0", "QUOTE_TTL": "0", "ERROR_RATE": "1"}, Config{
			Revision: stock.Revision{Resource: "GET {x...} 日本", Name: "GET {x...} 日本", Fault: stock.Fault{Rate: 1}},
		}},
	} {
		if got, err := Load(test.env.get); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, %v, want %+v", test.name, got, err, test.want)
		}
	}
}

// An error is one line that begins with the variable's name, and has neither
// the provider's URL nor the key in it.
func TestBadValues(t *testing.T) {
	const url = "https://api.example.com/{ticker}"
	for _, test := range []struct {
		env  env
		want string
	}{
		{env{"PORT": "65536"}, `PORT: "65536" is not a port from 0 to 65535`},
		{env{"RESOURCE": "."}, `RESOURCE: "." is not one segment of a path`},
		{env{"RESOURCE": ".."}, `RESOURCE: ".." is not one segment of a path`},
		{env{"RESOURCE": "a\nb"}, "RESOURCE: has a control character, such as a line end"},
		{env{"K_REVISION": "r\n"}, "K_REVISION: has a control character, such as a line end"},
		{env{"K_REVISION": "r", "HOSTNAME": "r\r\n"}, "HOSTNAME: has a control character, such as a line end"},
		{env{"QUOTE_KEY": "secret"}, "QUOTE_KEY: is set, but QUOTE_URL is not"},
		{env{"QUOTE_POINTER": "/price"}, "QUOTE_POINTER: is set, but QUOTE_URL is not"},
		{env{"QUOTE_URL": url + "?k={key}", "QUOTE_KEY": "s\xffcret"}, "QUOTE_KEY: is not UTF-8"},
		{env{"QUOTE_TTL": "10"}, `QUOTE_TTL: "10" is not a duration such as 250ms or 2s`},
		{env{"LATENCY": "-1ms"}, `LATENCY: "-1ms" is not a duration such as 250ms or 2s`},
		{env{"ERROR_RATE": "50%"}, `ERROR_RATE: "50%" is not a share from 0 to 1`},
		{env{"ERROR_RATE": "1.01"}, `ERROR_RATE: "1.01" is not a share from 0 to 1`},
		{env{"ERROR_RATE": "-0.1"}, `ERROR_RATE: "-0.1" is not a share from 0 to 1`},
		{env{"ERROR_RATE": "NaN"}, `ERROR_RATE: "NaN" is not a share from 0 to 1`},
		// one at a time, in the order of -h
		{env{"SPLIT": "v1", "RESOURCE": "a/b", "LATENCY": "fast"}, `RESOURCE: "a/b" is not one segment of a path`},
	} {
		_, err := Load(test.env.get)
		if err == nil || err.Error() != test.want {
			t.Errorf("%q: %v, want %s", test.env, err, test.want)
		}
	}
}

// -h lists each variable that is read, and no other, with its default: to name
// that is to leave the variable unset.
func TestUsage(t *testing.T) {
	var text strings.Builder
	Usage(&text)
	var listed, asked []string
	for _, row := range regexp.MustCompile(`(?m)^  (\w+) +(\S+(?: \S+)*)  +\S`).FindAllStringSubmatch(text.String(), -1) {
		listed = append(listed, row[1])
		got, err := Load(env{row[1]: strings.TrimPrefix(row[2], "-")}.get)
		if want, _ := Load(env{}.get); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s=%s: %+v, %v, want %+v", row[1], row[2], got, err, want)
		}
	}
	Load(func(name string) string {
		asked = append(asked, name)
		return ""
	})
	if !slices.Equal(asked, listed) {
		t.Errorf("reads %q, lists %q", asked, listed)
	}
}
