package artifact

import "strings"

// TenantPrefix begins the id of every tenant.
const TenantPrefix = "pf_"

// maxTenant is how many characters may follow the prefix.
const maxTenant = 32

// ParseTenant returns the id of a tenant, "pf_" and 1 to 32 lower-case letters
// or digits (extensions §7), or an Invalid error.
func ParseTenant(s string) (string, error) {
	name, found := strings.CutPrefix(s, TenantPrefix)
	ok := found && name != "" && len(name) <= maxTenant
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9')
	}
	if !ok {
		return "", &Error{Kind: Invalid, Msg: "A tenant is called pf_ and 1 to 32 lower-case letters or digits", Field: "tenant"}
	}
	return s, nil
}
