package auth_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
)

func TestBearer(t *testing.T) {
	tests := []struct {
		lines   []string
		token   string
		present bool
		bad     bool
	}{
		{nil, "", false, false},
		{[]string{"Bearer abc"}, "abc", true, false},
		{[]string{"bearer abc"}, "abc", true, false},
		{[]string{"BEARER   abc  "}, "abc", true, false},
		{[]string{"Bearer a b"}, "a b", true, false}, // garbage, which is for the verifier to say
		{[]string{"Bearer a, Bearer b"}, "a, Bearer b", true, false},
		{[]string{""}, "", true, true},
		{[]string{"Bearer"}, "", true, true},
		{[]string{"Bearer "}, "", true, true},
		{[]string{"Bearerabc"}, "", true, true},
		{[]string{"abc"}, "", true, true},
		{[]string{"Basic dTpw"}, "", true, true},
		{[]string{"Bearer a", "Bearer a"}, "", true, true},
		{[]string{"Bearer a", "Basic dTpw"}, "", true, true},
	}
	for _, tt := range tests {
		h := http.Header{}
		for _, line := range tt.lines {
			h.Add("authorization", line)
		}
		token, present, err := auth.Bearer(h)
		if token != tt.token || present != tt.present || (err != nil) != tt.bad {
			t.Errorf("Bearer(%q) = %q, %v, %v", tt.lines, token, present, err)
		}
		if e, ok := errors.AsType[*artifact.Error](err); tt.bad && (!ok || e.Kind != artifact.Unauthorized || e.Code != "AUTH_UNAUTHORIZED") {
			t.Errorf("Bearer(%q) is the error %v, want ErrNoCredentials", tt.lines, err)
		}
	}
}

func TestSocketBearer(t *testing.T) {
	tests := []struct {
		lines           []string
		token, protocol string
	}{
		{nil, "", ""},
		{[]string{"vitrine"}, "", "vitrine"},
		{[]string{"vitrine, bearer.e.y.J"}, "e.y.J", "vitrine"},
		{[]string{"bearer.e.y.J, vitrine"}, "e.y.J", "vitrine"},
		{[]string{"bearer.e.y.J", "other", "vitrine"}, "e.y.J", "other"},
		{[]string{"Bearer.e.y.J,vitrine"}, "e.y.J", "vitrine"},
		{[]string{"bearer.e.y.J"}, "e.y.J", ""},
		{[]string{"bearer, e.y.J"}, "e.y.J", "bearer"},
		{[]string{"vitrine", "bearer", "e.y.J"}, "e.y.J", "vitrine"},
		{[]string{"bearer, bearer"}, "bearer", "bearer"}, // a token may be called anything
		{[]string{"vitrine, bearer"}, "", "vitrine"},
		{[]string{"vitrine, bearer."}, "", "vitrine"},
		{[]string{"bearer.a, bearer.b, vitrine"}, "", "vitrine"},
		{[]string{"bearer.a, bearer, b"}, "", "bearer"},
		{[]string{" , ,vitrine,, bearer.a"}, "a", "vitrine"},
	}
	for _, tt := range tests {
		h := http.Header{"Sec-Websocket-Protocol": tt.lines}
		if token, protocol := auth.SocketBearer(h); token != tt.token || protocol != tt.protocol {
			t.Errorf("SocketBearer(%q) = %q, %q, want %q, %q", tt.lines, token, protocol, tt.token, tt.protocol)
		}
	}
}
