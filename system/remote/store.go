package remote

import (
	"context"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// Store returns the server's CAS as a cas.Store.
func (c *Client) Store() cas.Store { return store{c} }

type store struct{ client *Client }

var _ cas.Store = store{}

func (s store) Missing(ctx context.Context, digests []digest.Digest, dst []digest.Digest) ([]digest.Digest, error) {
	return s.client.Missing(ctx, digests, dst)
}

func (s store) Read(ctx context.Context, d digest.Digest) ([]byte, error) {
	return s.client.ReadBlob(ctx, d)
}

func (s store) Open(ctx context.Context, d digest.Digest, offset int64) (cas.Reader, error) {
	return s.client.Open(ctx, d, offset)
}

func (s store) Write(ctx context.Context, d digest.Digest, data []byte) error {
	// Checked here, because what a server makes of wrong data is its business.
	if got := d.Func().Of(data); got != d {
		return &cas.CorruptError{Want: d, Got: got}
	}
	return s.client.WriteBlob(ctx, d, data)
}

func (s store) Create(ctx context.Context, d digest.Digest) (cas.Writer, error) {
	return s.client.Create(ctx, d)
}
