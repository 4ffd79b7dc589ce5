package account

import "sync/atomic"

// Counts is what this node has seen since it started.
type Counts struct {
	Logins      int64 // of keys, cookies and OAuth clients that were let in
	Refused     int64 // keys that were not good
	Revocations int64 // that were heard of, from any node
	Watched     int64 // requests and streams under way, which end with what they came with
}

// tallies are the counters behind Counts.
type tallies struct{ logins, refused atomic.Int64 }

// Counts returns what this node has seen.
func (a *Accounts) Counts() Counts {
	r := &a.revoked
	r.mu.RLock()
	watched := len(r.watchers)
	r.mu.RUnlock()
	return Counts{a.tallies.logins.Load(), a.tallies.refused.Load(), r.heard.Load(), int64(watched)}
}
