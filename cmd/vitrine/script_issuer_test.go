package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/rogpeppe/go-internal/testscript"
)

// foreign is an issuer of tokens that publishes its key, as others run one.
type foreign struct {
	url    string
	signer jose.Signer
}

func issuer(ts *testscript.TestScript, w *world, _ []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "one"}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	f := &foreign{url: "http://" + l.Addr().String(), signer: signer}
	mux := http.NewServeMux()
	answer := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v) }
	}
	mux.Handle("/.well-known/openid-configuration", answer(map[string]string{"issuer": f.url, "jwks_uri": f.url + "/keys"}))
	mux.Handle("/keys", answer(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "one", Algorithm: "ES256", Use: "sig"}}}))
	w.proxies = append(w.proxies, l)
	w.issuer = f
	w.serving.Go(func() { _ = http.Serve(l, mux) }) //nolint:gosec // for this script alone
	ts.Setenv("ISSUER", f.url)
	return nil
}

// token signs claims beside those that every token of the issuer has.
func token(ts *testscript.TestScript, w *world, args []string) error {
	now := time.Now()
	claims := map[string]any{"iss": w.issuer.url, "sub": "ada", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": rand.Text()}
	if err := json.Unmarshal([]byte(args[1]), &claims); err != nil {
		return err
	}
	text, err := jwt.Signed(w.issuer.signer).Claims(claims).Serialize()
	ts.Setenv(args[0], text)
	return err
}

// ask sends a request and keeps the answer in answer.txt.
func ask(ts *testscript.TestScript, _ *world, args []string) error {
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	r, err := http.NewRequest(args[1], ts.Getenv("VITRINE_SERVER")+args[2], http.NoBody)
	if err != nil {
		return err
	}
	for _, h := range args[3:] {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil {
		err = os.WriteFile(ts.MkAbs("answer.txt"), text, 0o600)
	}
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s %s: %s, want %d:\n%s", args[1], args[2], resp.Status, want, text)
	}
	return err
}
