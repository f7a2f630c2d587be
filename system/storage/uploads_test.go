package storage

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/bytestream"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// parkOne begins an upload, gives it some bytes and parks it.
func parkOne(t *testing.T, us *uploads, store cas.Store, i int, now time.Time) uploadName {
	t.Helper()
	name := uploadName{uuid: fmt.Sprint(i), blob: digest.Digest{SizeBytes: 1000}}
	u, err := us.begin(name, 0, now)
	if err != nil {
		t.Fatal(err)
	}
	if u.writer, err = store.Create(t.Context(), name.blob); err != nil {
		t.Fatal(err)
	}
	if err := u.take(&bytestream.WriteRequest{Data: make([]byte, 100)}, ""); err != nil {
		t.Fatal(err)
	}
	us.park(u, now)
	return name
}

func TestParkedUploadExpires(t *testing.T) {
	store, us, start := cas.NewMemory(cas.MemoryConfig{}), newUploads(), time.Unix(1000, 0)
	name := parkOne(t, us, store, 1, start)
	if got := us.received(name, start.Add(parkedTTL-1)); got != 100 {
		t.Errorf("just before its time %d bytes are held, want 100", got)
	}
	if got := us.received(name, start.Add(parkedTTL)); got != 0 {
		t.Errorf("after its time %d bytes are held", got)
	}
	if got := store.Usage().SizeBytes; got != 0 {
		t.Errorf("the store still holds %d bytes", got)
	}
}

func TestParkedUploadsAreBounded(t *testing.T) {
	for what, limit := range map[string]func(*uploads){
		"count": func(us *uploads) { us.max = 3 },
		"bytes": func(us *uploads) { us.maxBytes = 399 },
	} {
		store, us, now := cas.NewMemory(cas.MemoryConfig{}), newUploads(), time.Unix(1000, 0)
		limit(us)
		var names []uploadName
		for i := range 5 {
			names = append(names, parkOne(t, us, store, i, now))
		}
		for i, name := range names {
			want := int64(100)
			if i < 2 {
				want = 0 // the oldest went
			}
			if got := us.received(name, now); got != want {
				t.Errorf("%s: %d bytes of upload %d are held, want %d", what, got, i, want)
			}
		}
		if got := store.Usage().SizeBytes; got != 300 {
			t.Errorf("%s: the store holds %d bytes, want 300", what, got)
		}
	}
}

func TestResumedUploadIsNoLongerParked(t *testing.T) {
	store, us, now := cas.NewMemory(cas.MemoryConfig{}), newUploads(), time.Unix(1000, 0)
	name := parkOne(t, us, store, 1, now)
	u, err := us.begin(name, 100, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := us.begin(name, 100, now); codeOf(err).String() != "Aborted" {
		t.Errorf("a second stream: error %v, want a conflict", err)
	}
	if got := us.received(name, now.Add(2*parkedTTL)); got != 100 {
		t.Errorf("%d bytes of a busy upload are held after the parking time, want 100", got)
	}
	us.abort(u)
	if us.bytes != 0 || us.parked.Len() != 0 || len(us.byName) != 0 {
		t.Errorf("left: %d bytes, %d parked, %d known", us.bytes, us.parked.Len(), len(us.byName))
	}
}

func TestCloseDropsParkedUploads(t *testing.T) {
	store, us, now := cas.NewMemory(cas.MemoryConfig{}), newUploads(), time.Unix(1000, 0)
	parkOne(t, us, store, 1, now)
	us.close()
	parkOne(t, us, store, 2, now) // a stream that ends after Close
	if got := store.Usage().SizeBytes; got != 0 {
		t.Errorf("the store still holds %d bytes", got)
	}
}
