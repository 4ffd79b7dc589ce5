package api_test

import "testing"

// Ids that PostgreSQL does not even take as text are those of nothing.
func TestIdsThatAreNoText(t *testing.T) {
	each(t, func(_ *testing.T, h *house) {
		h.up("s", "a", "a")
		for _, id := range []string{"%00", "%ff"} {
			for _, path := range []string{"/api/v2/keys/", "/api/v2/auth/logins/", "/api/v2/members/", "/api/sessions/s/shares/"} {
				h.want(h.do("DELETE", path+id, nil), 404, "")
			}
		}
		h.want(h.ask("POST", "/api/v2/keys", `{"member_id":"\u0000"}`), 422, "")
	})
}
