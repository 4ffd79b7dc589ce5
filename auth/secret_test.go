package auth_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/vitrine-hq/vitrine/auth"
)

func TestNewIDAndSecret(t *testing.T) {
	id := regexp.MustCompile(`^key_[a-z0-9]{20,}$`)
	secret := regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	seen := map[string]bool{}
	for range 100 {
		for text, want := range map[string]*regexp.Regexp{auth.NewID("key_"): id, auth.NewSecret(): secret} {
			if !want.MatchString(text) || seen[text] {
				t.Errorf("%q is no match of %s, or came twice", text, want)
			}
			seen[text] = true
		}
	}
}

// Each letter stands in each place about as often as every other. With 20,000
// codes the count is 1,000, give or take 31; 200 off never happens by chance.
func TestUserCodesAreUnbiased(t *testing.T) {
	const letters = "BCDFGHJKLMNPQRSTVWXZ"
	form := regexp.MustCompile(`^[` + letters + `]{4}-[` + letters + `]{4}$`)
	var counts [9][256]int
	for range 20_000 {
		code := auth.NewUserCode()
		if !form.MatchString(code) {
			t.Fatalf("NewUserCode() = %q", code)
		}
		for i := range len(code) {
			counts[i][code[i]]++
		}
	}
	for i, count := range counts {
		if i == 4 {
			continue // the dash
		}
		for _, c := range []byte(letters) {
			if count[c] < 800 || count[c] > 1200 {
				t.Errorf("%c stands %d times in place %d of 20,000 codes, want about 1,000", c, count[c], i)
			}
		}
	}
}

func TestCleanUserCode(t *testing.T) {
	for _, in := range []string{"WDJB-MJHT", "wdjbmjht", "wdjb mjht", " WD-JB--mjht ", "w-d-j-b-m-j-h-t"} {
		if got, ok := auth.CleanUserCode(in); !ok || got != "WDJB-MJHT" {
			t.Errorf("CleanUserCode(%q) = %q, %v, want WDJB-MJHT", in, got, ok)
		}
	}
	for _, in := range []string{
		"", "WDJB", "WDJB-MJH", "WDJB-MJHTT", "WDJB-MJHA", "WDJB-MJH1", "WDJB_MJHT", "WDJB-MJHT\n",
		"WDJB-MJHÞ", "WDJB-MJHſ", strings.Repeat("B", 1<<16),
	} {
		if got, ok := auth.CleanUserCode(in); ok {
			t.Errorf("CleanUserCode(%.20q) = %q, want none", in, got)
		}
	}
	if code := auth.NewUserCode(); !isClean(code) {
		t.Errorf("CleanUserCode(%q) is not the code itself", code)
	}
}

func isClean(code string) bool {
	got, ok := auth.CleanUserCode(strings.ToLower(code))
	return ok && got == code
}

func TestPKCE(t *testing.T) {
	const verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" // RFC 7636, appendix B
	if got := auth.S256(verifier); got != challenge {
		t.Errorf("S256(%q) = %q, want %q", verifier, got, challenge)
	}
	tests := []struct {
		text                string
		verifier, challenge bool
	}{
		{verifier, true, true},
		{challenge, true, true},
		{verifier[1:], false, false},
		{verifier + "~", true, false},
		{verifier[1:] + ".", true, false},
		{verifier[1:] + "=", false, false},
		{verifier[1:] + "+", false, false},
		{verifier[1:] + "\n", false, false},
		{strings.Repeat("a", 128), true, false},
		{strings.Repeat("a", 129), false, false},
		{"", false, false},
	}
	for _, tt := range tests {
		if got := auth.ValidVerifier(tt.text); got != tt.verifier {
			t.Errorf("ValidVerifier(%q) = %v, want %v", tt.text, got, tt.verifier)
		}
		if got := auth.ValidChallenge(tt.text); got != tt.challenge {
			t.Errorf("ValidChallenge(%q) = %v, want %v", tt.text, got, tt.challenge)
		}
	}
}
