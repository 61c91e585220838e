package chunks

import (
	"container/list"
	"sync"

	"masthead/images"
)

// lru keeps byte slices by digest, the least recently used of which go when they exceed a bound. Slices are shared and
// never change. A bound that everything fits in makes it a place where things stay.
type lru struct {
	bound int64 // bytes

	mu    sync.Mutex
	size  int64
	order *list.List // of *entry, the last used first
	items map[images.Digest]*list.Element
}

type entry struct {
	digest images.Digest
	data   []byte
}

func newLRU(bound int64) *lru {
	return &lru{bound: bound, order: list.New(), items: map[images.Digest]*list.Element{}}
}

// get returns nil for what is not there.
func (l *lru) get(d images.Digest) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.items[d]
	if !ok {
		return nil
	}
	l.order.MoveToFront(e)
	return e.Value.(*entry).data
}

// has does not count as a use.
func (l *lru) has(d images.Digest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.items[d]
	return ok
}

// add makes room for data. What is larger than the bound is not kept.
func (l *lru) add(d images.Digest, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.insert(d, data, true)
}

// addIfRoom keeps data only if nothing has to go for it, and reports whether it is there now.
func (l *lru) addIfRoom(d images.Digest, data []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.insert(d, data, false)
}

func (l *lru) insert(d images.Digest, data []byte, evict bool) bool {
	n := int64(len(data))
	if e, ok := l.items[d]; ok {
		l.order.MoveToFront(e)
		return true
	}
	if n > l.bound || !evict && l.size+n > l.bound {
		return false
	}
	for l.size+n > l.bound {
		last := l.order.Back()
		old := l.order.Remove(last).(*entry)
		delete(l.items, old.digest)
		l.size -= int64(len(old.data))
	}
	l.items[d] = l.order.PushFront(&entry{d, data})
	l.size += n
	return true
}

// room is how many bytes fit without anything going.
func (l *lru) room() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bound - l.size
}

// bytes is what it holds.
func (l *lru) bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}
