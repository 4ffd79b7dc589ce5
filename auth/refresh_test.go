package auth_test

import (
	"errors"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/vitrine-hq/vitrine/auth"
)

func TestRefreshTokens(t *testing.T) {
	s := newSigner(t, oldKey)
	old := s.Refresh("g1", 7)
	if err := s.SetKeys([]auth.SigningKey{oldKey, newKey}); err != nil {
		t.Fatal(err)
	}
	young := s.Refresh("g1", 7)
	if young != s.Refresh("g1", 7) || young == old || young == s.Refresh("g1", 8) || young == s.Refresh("g2", 7) {
		t.Error("refresh tokens do not tell grant, generation and key apart, or are not made twice alike")
	}
	for token, form := range map[string]string{old: "k1", young: "k2"} {
		if !regexp.MustCompile(`^vrt_g1_7_` + form + `_[A-Za-z0-9_-]{43}$`).MatchString(token) {
			t.Errorf("%q does not have the form of a refresh token by %s", token, form)
		}
		if grant, generation, err := s.ParseRefresh(token); grant != "g1" || generation != 7 || err != nil {
			t.Errorf("ParseRefresh(%q) = %q, %d, %v", token, grant, generation, err)
		}
	}
	if _, generation, err := s.ParseRefresh(s.Refresh("g1", math.MaxInt64)); generation != math.MaxInt64 || err != nil {
		t.Errorf("the last generation is read as %d, %v", generation, err)
	}
	if err := s.SetKeys([]auth.SigningKey{newKey}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.ParseRefresh(old); !errors.Is(err, auth.ErrUnknownKey) || !errors.Is(err, auth.ErrTokenInvalid) {
		t.Errorf("a refresh token by a key that is gone: %v", err)
	}
}

// Kept, because clients hold refresh tokens for 30 days.
func TestRefreshTokensAreTheseBytes(t *testing.T) {
	const want = "vrt_g1_7_k2_t23kFNsoE60oKbksnJ3FvG1_axsp8AOojFwXlfB6yd0"
	if got := newSigner(t, newKey).Refresh("g1", 7); got != want {
		t.Errorf("Refresh = %q, want %q", got, want)
	}
}

func TestParseRefreshRefuses(t *testing.T) {
	s := newSigner(t, newKey)
	good := s.Refresh("g1", 7)
	mac := good[len("vrt_g1_7_k2_"):]
	_, shares := s.MAC("share", "g1", "7")
	for name, token := range map[string]string{
		"empty":              "",
		"marks only":         "vrt____",
		"another mark":       "vrs" + good[3:],
		"another grant":      "vrt_g2_7_k2_" + mac,
		"no grant":           "vrt__7_k2_" + mac,
		"another generation": "vrt_g1_8_k2_" + mac,
		"a zero in front":    "vrt_g1_07_k2_" + mac,
		"a sign":             "vrt_g1_+7_k2_" + mac,
		"negative":           s.Refresh("g1", -1),
		"no generation":      "vrt_g1__k2_" + mac,
		"overflow":           "vrt_g1_9223372036854775808_k2_" + mac,
		"another cut":        "vrt_g_17_k2_" + mac,
		"another key":        "vrt_g1_7_k1_" + mac,
		"no code":            "vrt_g1_7_k2_",
		"code cut":           good[:len(good)-1],
		"code longer":        good + "A",
		"another purpose":    "vrt_g1_7_k2_" + shares,
		"line end":           good + "\n",
		"space":              " " + good,
		"padding":            good + "=",
		"an access token":    sign(t, s, person),
		"an API key":         auth.NewKey("pf_demo"),
		"very long":          good + strings.Repeat("A", 1<<20),
	} {
		grant, generation, err := s.ParseRefresh(token)
		if err == nil {
			t.Errorf("%s: %q passes as %q, %d", name, token, grant, generation)
			continue
		}
		wantCode(t, err, "AUTH_TOKEN_INVALID")
	}
}

func TestMAC(t *testing.T) {
	s := newSigner(t, oldKey)
	kid, mac := s.MAC("share", "a", "b")
	if err := s.SetKeys([]auth.SigningKey{newKey, oldKey}); err != nil {
		t.Fatal(err)
	}
	if !s.CheckMAC(kid, mac, "share", "a", "b") {
		t.Error("a code of the old key is not known any more")
	}
	youngKid, young := s.MAC("share", "a", "b")
	if youngKid != "k2" || !s.CheckMAC("k2", young, "share", "a", "b") {
		t.Errorf("the newest key did not make %s, %s", youngKid, young)
	}
	const golden = "dZEYkaVQk-N9AzC9YMN7VnMVqqrBSGDuQ7CHW38tocE"
	if young != golden {
		t.Errorf("MAC = %q, want %q: codes in links outlive the program", young, golden)
	}
	for name, ok := range map[string]bool{
		"another key":     s.CheckMAC("k1", young, "share", "a", "b"),
		"no such key":     s.CheckMAC("k3", young, "share", "a", "b"),
		"no key":          s.CheckMAC("", young, "share", "a", "b"),
		"another purpose": s.CheckMAC("k2", young, "csrf", "a", "b"),
		"another cut":     s.CheckMAC("k2", young, "share", "ab", ""),
		"joined":          s.CheckMAC("k2", young, "share", "ab"),
		"moved":           s.CheckMAC("k2", young, "sharea", "b"),
		"order":           s.CheckMAC("k2", young, "share", "b", "a"),
		"one more":        s.CheckMAC("k2", young, "share", "a", "b", ""),
		"one less":        s.CheckMAC("k2", young, "share", "a"),
		"no code":         s.CheckMAC("k2", "", "share", "a", "b"),
		"padded":          s.CheckMAC("k2", young+"=", "share", "a", "b"),
	} {
		if ok {
			t.Errorf("%s: the code passes", name)
		}
	}
}

// Whatever is read as a refresh token is one that was made here.
func FuzzParseRefresh(f *testing.F) {
	s, err := auth.NewSigner(issuer, []auth.SigningKey{newKey})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("vrt_g1_7_k2_")
	f.Add(s.Refresh("g1", 7))
	f.Add(s.Refresh("a0b1", 0))
	f.Add("vrt_g1_-1_k2_" + strings.Repeat("A", 43))
	f.Fuzz(func(t *testing.T, token string) {
		grant, generation, err := s.ParseRefresh(token)
		if err != nil {
			wantCode(t, err, "AUTH_TOKEN_INVALID")
			return
		}
		if again := s.Refresh(grant, generation); again != token {
			t.Errorf("%q is read as %q, %d, which is %q", token, grant, generation, again)
		}
	})
}
