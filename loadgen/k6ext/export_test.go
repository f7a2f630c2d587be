package k6ext

// Shares tells whether two handles share their blobs.
func (b *Blobs) Shares(other *Blobs) bool { return b.content == other.content }
