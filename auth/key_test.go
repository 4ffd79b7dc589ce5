package auth_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/vitrine-hq/vitrine/auth"
)

const secret32 = "AbCdEf0123456789_-AbCdEf01234567"

func TestParseKey(t *testing.T) {
	long := strings.Repeat("x", 512-len("tm_pf_a_ak_"))
	good := map[string]auth.Key{
		"tm_pf_demo_ak_" + secret32:                             {Tenant: "pf_demo", Secret: secret32},
		"tm_pf_a_ak_" + long:                                    {Tenant: "pf_a", Secret: long},
		"tm_pf_0_ak__ak_" + secret32:                            {Tenant: "pf_0", Secret: "_ak_" + secret32},
		"tm_pf_" + strings.Repeat("z", 32) + "_ak_" + long[:32]: {Tenant: "pf_" + strings.Repeat("z", 32), Secret: long[:32]},
	}
	for in, want := range good {
		if got, ok := auth.ParseKey(in); !ok || got != want {
			t.Errorf("ParseKey(%q) = %v, %v, want %v", in, got, ok, want)
		}
	}
	bad := []string{
		"", "tm_", "tm_pf_demo_ak_", "tm_pf_demo_ak_xxx", // short
		"tm_pf_demo_ak_" + secret32[1:],
		"tm_pf_a_ak_" + long + "x",
		"tm_pf_demo_ak_" + secret32 + "\n",
		"\ntm_pf_demo_ak_" + secret32,
		" tm_pf_demo_ak_" + secret32,
		"tm_pf_demo_ak_" + secret32 + "=",
		"tm_pf_demo_ak_" + secret32 + "é",
		"tm_pf__ak_" + secret32,
		"tm_demo_ak_" + secret32,
		"tm_pf_Demo_ak_" + secret32,
		"tm_pf_de_mo_ak_" + secret32,
		"tm_pf_" + strings.Repeat("z", 33) + "_ak_" + secret32,
		"TM_pf_demo_ak_" + secret32,
		"tm_pf_demo_AK_" + secret32,
		"tm_pf_demo\n_ak_" + secret32,
	}
	for _, in := range bad {
		if got, ok := auth.ParseKey(in); ok {
			t.Errorf("ParseKey(%q) = %v, want none", in, got)
		}
	}
}

func TestNewKeyIsAKey(t *testing.T) {
	first := auth.NewKey("pf_demo")
	got, ok := auth.ParseKey(first)
	if !ok || got.Tenant != "pf_demo" || len(got.Secret) != 43 {
		t.Errorf("ParseKey(NewKey) = %+v, %v, want a key of pf_demo with 43 characters", got, ok)
	}
	if first == auth.NewKey("pf_demo") {
		t.Errorf("two calls made the same key")
	}
	if !auth.LooksLikeKey(first) {
		t.Errorf("LooksLikeKey(%q) = false", first)
	}
}

func TestLooksLikeKey(t *testing.T) {
	loose := regexp.MustCompile(`^tm_.+_ak_.+$`)
	for _, in := range []string{
		"tm_pf_demo_ak_xxx", "tm_x_ak_y", "tm_ _ak_ ", "tm__ak__ak_x", "tm_x_ak__ak_", "tm_pf_demo_ak_",
		"tm__ak_x", "tm_ak_x", "tm_", "", "eyJhbGciOiJIUzI1NiJ9.e30.x", "vrt_a_1_b_c", "xtm_x_ak_y",
	} {
		if got, want := auth.LooksLikeKey(in), loose.MatchString(in); got != want {
			t.Errorf("LooksLikeKey(%q) = %v, want %v", in, got, want)
		}
	}
}

func TestHashes(t *testing.T) {
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2
	if got := auth.HashKey("abc"); got != abc {
		t.Errorf("HashKey(abc) = %s, want %s", got, abc)
	}
	if got := auth.HashSecret("abc"); got != abc {
		t.Errorf("HashSecret(abc) = %s, want %s", got, abc)
	}
	if !auth.SameHash(abc, abc) || auth.SameHash(abc, abc[1:]) || auth.SameHash(abc, strings.ToUpper(abc)) {
		t.Error("SameHash does not tell equal hashes from others")
	}
}

// What ParseKey takes is what the contract's pattern takes, to the byte.
func FuzzParseKey(f *testing.F) {
	pattern := regexp.MustCompile(`\Atm_(pf_[a-z0-9]{1,32})_ak_([A-Za-z0-9_-]{32,})\z`)
	f.Add("tm_pf_demo_ak_" + secret32)
	f.Add("tm_pf_demo_ak_" + secret32 + "\n")
	f.Add("tm_pf_a_ak__ak_" + secret32)
	f.Add("tm_pf__ak_")
	f.Add("tm_pf_ak_ak_" + secret32)
	f.Fuzz(func(t *testing.T, in string) {
		got, ok := auth.ParseKey(in)
		want := pattern.FindStringSubmatch(in)
		if ok != (want != nil && len(in) <= 512) {
			t.Fatalf("ParseKey(%q) says %v, the pattern %v", in, ok, want)
		}
		if !ok {
			return
		}
		if got.Tenant != want[1] || got.Secret != want[2] {
			t.Errorf("ParseKey(%q) = %+v, want %q", in, got, want)
		}
		if !auth.LooksLikeKey(in) {
			t.Errorf("%q is a key and does not look like one", in)
		}
	})
}
