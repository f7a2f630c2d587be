package des

// Trajectory x
type Trajectory struct{}

func (t *Trajectory) add(v *node, n uint64, f fingerprint) {}
