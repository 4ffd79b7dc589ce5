package store

import "sync"

// waiters wakes those who wait for news of a session. A wake-up carries no
// data: it says "look again".
type waiters struct {
	mu sync.Mutex
	m  map[int64]chan struct{}
}

// Woken returns a channel that closes when the session with the given key may
// have new entries. It is only a hint: take it before reading, and read again
// on a timer as well, because another node's commit wakes nobody here.
func (w *waiters) Woken(key int64) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, ok := w.m[key]
	if !ok {
		if w.m == nil {
			w.m = make(map[int64]chan struct{})
		}
		c = make(chan struct{})
		w.m[key] = c
	}
	return c
}

func (w *waiters) wake(key int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c, ok := w.m[key]; ok {
		close(c)
		delete(w.m, key)
	}
}
