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

// env is an environment.
type env map[string]string

func (e env) get(name string) string { return e[name] }

func TestDefaults(t *testing.T) {
	got, err := Load(env{}.get)
	want := Config{
		Port:     8080,
		Revision: stock.Revision{Resource: "NOT SPECIFIED", Name: "NOT SPECIFIED"},
		QuoteTTL: 10 * time.Second,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

func TestEverythingSet(t *testing.T) {
	got, err := Load(env{
		"PORT":          "9000",
		"RESOURCE":      "v2",
		"K_REVISION":    "stock-service-example-v2",
		"HOSTNAME":      "stock-service-example-v2-deployment-7d9f8-abcde",
		"QUOTE_URL":     "https://api.example.com:8443/{ticker}?k={key}",
		"QUOTE_KEY":     "secret",
		"QUOTE_POINTER": "/a/0",
		"QUOTE_TTL":     "1m",
		"LATENCY":       "250ms",
		"ERROR_RATE":    "0.5",
		"SPLIT":         "v1=40,v2=30,v3=30",
	}.get)
	template, _ := quote.ParseTemplate("https://api.example.com:8443/{ticker}?k={key}")
	want := Config{
		Port: 9000,
		Revision: stock.Revision{
			Resource: "v2",
			Name:     "stock-service-example-v2",
			Pod:      "stock-service-example-v2-deployment-7d9f8-abcde",
			Fault:    stock.Fault{Latency: 250 * time.Millisecond, Rate: 0.5},
		},
		Split:        rehearsal.Split{{Tag: "v1", Percent: 40}, {Tag: "v2", Percent: 30}, {Tag: "v3", Percent: 30}},
		QuoteURL:     template.WithKey("secret"),
		QuotePointer: quote.Pointer{"a", "0"},
		QuoteTTL:     time.Minute,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

func TestGoodValues(t *testing.T) {
	for _, test := range []struct {
		env  env
		got  func(Config) any
		want any
	}{
		{env{"PORT": "0"}, func(c Config) any { return c.Port }, uint16(0)},
		{env{"PORT": "1"}, func(c Config) any { return c.Port }, uint16(1)},
		{env{"PORT": "65535"}, func(c Config) any { return c.Port }, uint16(65535)},
		{env{"RESOURCE": "v1"}, func(c Config) any { return c.Revision.Name }, "v1"},
		{env{"RESOURCE": "..."}, func(c Config) any { return c.Revision.Resource }, "..."},
		{env{"RESOURCE": "GET {x...} 日本"}, func(c Config) any { return c.Revision.Resource }, "GET {x...} 日本"},
		{env{"K_REVISION": "r"}, func(c Config) any { return c.Revision.Resource }, "NOT SPECIFIED"},
		{env{"K_REVISION": "r"}, func(c Config) any { return c.Revision.Name }, "r"},
		{env{"K_REVISION": "r-1", "HOSTNAME": "r-1-deployment-7d9f8-abcde"}, func(c Config) any { return c.Revision.Pod }, "r-1-deployment-7d9f8-abcde"},
		// Kubernetes shortens long names
		{env{"K_REVISION": strings.Repeat("r", 50), "HOSTNAME": strings.Repeat("r", 47) + "deployment-x7k2p"}, func(c Config) any { return c.Revision.Pod }, strings.Repeat("r", 47) + "deployment-x7k2p"},
		{env{"RESOURCE": "v1", "HOSTNAME": "v1-deployment-7d9f8-abcde"}, func(c Config) any { return c.Revision.Pod }, ""},
		{env{"HOSTNAME": "laptop"}, func(c Config) any { return c.Revision.Pod }, ""},
		{env{"QUOTE_TTL": "0"}, func(c Config) any { return c.QuoteTTL }, time.Duration(0)},
		{env{"QUOTE_TTL": "1h30m"}, func(c Config) any { return c.QuoteTTL }, 90 * time.Minute},
		{env{"QUOTE_URL": "http://h/{ticker}", "QUOTE_POINTER": "/Global Quote/05. price"}, func(c Config) any { return c.QuotePointer }, quote.Pointer{"Global Quote", "05. price"}},
		{env{"QUOTE_URL": "http://h/{ticker}"}, func(c Config) any { return c.QuoteURL.Host() }, "h"},
		{env{"QUOTE_KEY": ""}, func(c Config) any { return c.QuoteURL }, quote.Template{}},
		{env{"LATENCY": "0"}, func(c Config) any { return c.Revision.Fault }, stock.Fault{}},
		{env{"LATENCY": "1.5s"}, func(c Config) any { return c.Revision.Fault.Latency }, 1500 * time.Millisecond},
		{env{"ERROR_RATE": "0"}, func(c Config) any { return c.Revision.Fault.Rate }, 0.0},
		{env{"ERROR_RATE": "1"}, func(c Config) any { return c.Revision.Fault.Rate }, 1.0},
		{env{"ERROR_RATE": ".25"}, func(c Config) any { return c.Revision.Fault.Rate }, 0.25},
		{env{"SPLIT": "v1=100"}, func(c Config) any { return c.Split }, rehearsal.Split{{Tag: "v1", Percent: 100}}},
	} {
		c, err := Load(test.env.get)
		if got := test.got(c); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%v: %v, %v, want %v", test.env, got, err, test.want)
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
		{env{"PORT": "http"}, `PORT: "http" is not a port from 0 to 65535`},
		{env{"PORT": "-1"}, `PORT: "-1" is not a port from 0 to 65535`},
		{env{"PORT": "+1"}, `PORT: "+1" is not a port from 0 to 65535`},
		{env{"PORT": "65536"}, `PORT: "65536" is not a port from 0 to 65535`},
		{env{"PORT": "80.0"}, `PORT: "80.0" is not a port from 0 to 65535`},
		{env{"PORT": " 80"}, `PORT: " 80" is not a port from 0 to 65535`},
		{env{"PORT": "80\n"}, `PORT: "80\n" is not a port from 0 to 65535`},
		{env{"PORT": ":80"}, `PORT: ":80" is not a port from 0 to 65535`},
		// what Docker and Kubernetes make of a Service that is called so
		{env{"PORT": "tcp://10.0.0.1:80"}, `PORT: "tcp://10.0.0.1:80" is not a port from 0 to 65535`},

		{env{"RESOURCE": "GET /x"}, `RESOURCE: "GET /x" has a slash: it must be a single path segment`},
		{env{"RESOURCE": "/"}, `RESOURCE: "/" has a slash: it must be a single path segment`},
		{env{"RESOURCE": "."}, `RESOURCE: "." is a path segment that clients remove`},
		{env{"RESOURCE": ".."}, `RESOURCE: ".." is a path segment that clients remove`},
		{env{"RESOURCE": "a\nb"}, "RESOURCE: has a control character, such as a line end"},
		{env{"RESOURCE": "\x00"}, "RESOURCE: has a control character, such as a line end"},
		{env{"RESOURCE": "a\u0085"}, "RESOURCE: has a control character, such as a line end"},

		{env{"QUOTE_URL": "api.example.com/{ticker}"}, "QUOTE_URL: want an http or https URL"},
		{env{"QUOTE_URL": "https://api.example.com:x/{ticker}?k=secret"}, "QUOTE_URL: want an http or https URL"},
		{env{"QUOTE_URL": "https://api.example.com/{ticker}?k=secret\n"}, "QUOTE_URL: want an http or https URL"},
		{env{"QUOTE_URL": "https://api.example.com/%zz{ticker}?k=secret"}, "QUOTE_URL: want an http or https URL"},
		{env{"QUOTE_URL": "https://api.example.com/?k=secret"}, "QUOTE_URL: want {ticker} where the ticker belongs"},
		{env{"QUOTE_URL": "https://u:secret@api.example.com/{ticker}"}, "QUOTE_URL: a user in the URL is not supported; put {key} in its path or query"},
		{env{"QUOTE_URL": "https://{key}/{ticker}", "QUOTE_KEY": "secret"}, "QUOTE_URL: {ticker} and {key} belong in the path or query"},
		{env{"QUOTE_URL": url + "?k={key}"}, "QUOTE_KEY: is unset, but QUOTE_URL has {key}"},
		{env{"QUOTE_KEY": "secret"}, "QUOTE_KEY: is set, but QUOTE_URL is not"},
		{env{"QUOTE_POINTER": "/price"}, "QUOTE_POINTER: is set, but QUOTE_URL is not"},
		// echo secret | base64, in a Secret
		{env{"QUOTE_URL": url + "?k={key}", "QUOTE_KEY": "secret\n"}, "QUOTE_KEY: has a control character, such as a line end"},
		{env{"K_REVISION": "r\n"}, "K_REVISION: has a control character, such as a line end"},
		{env{"K_REVISION": "r", "HOSTNAME": "r\r\n"}, "HOSTNAME: has a control character, such as a line end"},

		{env{"QUOTE_POINTER": "price"}, "QUOTE_POINTER: a JSON pointer begins with a slash, as in /chart/result/0/price"},
		{env{"QUOTE_POINTER": "/~"}, "QUOTE_POINTER: in a JSON pointer, ~ is written ~0 and / within a name is written ~1"},
		{env{"QUOTE_URL": url, "QUOTE_POINTER": "price"}, "QUOTE_POINTER: a JSON pointer begins with a slash, as in /chart/result/0/price"},

		{env{"QUOTE_TTL": "10"}, `QUOTE_TTL: "10" is not a duration such as 250ms or 2s`},
		{env{"QUOTE_TTL": "-1s"}, `QUOTE_TTL: "-1s" is not a duration such as 250ms or 2s`},
		{env{"QUOTE_TTL": "1d"}, `QUOTE_TTL: "1d" is not a duration such as 250ms or 2s`},
		{env{"LATENCY": "fast"}, `LATENCY: "fast" is not a duration such as 250ms or 2s`},
		{env{"LATENCY": "-1ms"}, `LATENCY: "-1ms" is not a duration such as 250ms or 2s`},
		{env{"LATENCY": "3000000h"}, `LATENCY: "3000000h" is not a duration such as 250ms or 2s`},

		{env{"ERROR_RATE": "half"}, `ERROR_RATE: "half" is not a share from 0 to 1`},
		{env{"ERROR_RATE": "50%"}, `ERROR_RATE: "50%" is not a share from 0 to 1`},
		{env{"ERROR_RATE": "1.01"}, `ERROR_RATE: "1.01" is not a share from 0 to 1`},
		{env{"ERROR_RATE": "-0.1"}, `ERROR_RATE: "-0.1" is not a share from 0 to 1`},
		{env{"ERROR_RATE": "NaN"}, `ERROR_RATE: "NaN" is not a share from 0 to 1`},
		{env{"ERROR_RATE": "Inf"}, `ERROR_RATE: "Inf" is not a share from 0 to 1`},

		{env{"SPLIT": "v1"}, `SPLIT: "v1" is not name=percent`},
		{env{"SPLIT": "v1=40,v2=30"}, "SPLIT: the percents add up to 70, not to 100"},
		{env{"SPLIT": "a\nb=100"}, `SPLIT: the name "a\nb" is not a DNS label: at most 63 lower-case letters, digits and -, the first a letter, the last no -`},
		{env{"SPLIT": "v1=100;v2=0"}, `SPLIT: "v1=100;v2=0" has more than one name=percent: separate them by commas`},
		// one at a time, in the order of -h
		{env{"PORT": "http", "RESOURCE": "a/b", "LATENCY": "fast"}, `PORT: "http" is not a port from 0 to 65535`},
		{env{"RESOURCE": "a/b", "LATENCY": "fast"}, `RESOURCE: "a/b" has a slash: it must be a single path segment`},
		{env{"SPLIT": "v1=100", "RESOURCE": "a/b"}, `RESOURCE: "a/b" has a slash: it must be a single path segment`},
	} {
		_, err := Load(test.env.get)
		if err == nil || err.Error() != test.want {
			t.Errorf("%q: %v, want %s", test.env, err, test.want)
		}
	}
}

// -h lists each variable that is read, and no other, with its default.
func TestUsage(t *testing.T) {
	var text strings.Builder
	Usage(&text)
	var listed []string
	for _, row := range regexp.MustCompile(`(?m)^  (\w+) +(\S+(?: \S+)*)  +\S`).FindAllStringSubmatch(text.String(), -1) {
		name, fallback := row[1], row[2]
		listed = append(listed, name)

		// to name the default is to leave the variable unset
		set, unset := env{"RESOURCE": "v1"}, env{"RESOURCE": "v1"}
		delete(unset, name)
		switch fallback {
		case "-":
			set[name] = ""
		default:
			set[name] = fallback
		}
		got, err := Load(set.get)
		want, _ := Load(unset.get)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s=%s: %+v, %v, want %+v", name, fallback, got, err, want)
		}
	}

	var asked []string
	if _, err := Load(func(name string) string {
		asked = append(asked, name)
		return env{"QUOTE_URL": "http://h/{ticker}", "SPLIT": "v1=100"}[name]
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(asked)
	slices.Sort(listed)
	if asked = slices.Compact(asked); !slices.Equal(asked, listed) {
		t.Errorf("reads %q, lists %q", asked, listed)
	}
}
