package queue

// children finds a node by its parent and by what sets it apart from its
// siblings. It is a table like index, but the whole key is in its slots.
type children struct {
	slots []childSlot // their number is a power of two
	count int
}

type childSlot struct {
	parent uint32
	id     uint32
	node   uint32 // none if the slot is free
}

// home is the slot at which the search begins. Ids are dense, and priorities
// small: the product spreads them (Knuth 6.4, Fibonacci hashing).
func (c *children) home(parent, id uint32) uint32 {
	return uint32((uint64(parent)<<32|uint64(id))*0x9e3779b97f4a7c15>>32) & c.mask()
}

func (c *children) mask() uint32 { return uint32(len(c.slots) - 1) }

// find returns a child of a node, or none.
func (c *children) find(parent, id uint32) uint32 {
	if c.count == 0 {
		return none
	}
	for i := c.home(parent, id); c.slots[i].node != none; i = (i + 1) & c.mask() {
		if c.slots[i].parent == parent && c.slots[i].id == id {
			return c.slots[i].node
		}
	}
	return none
}

// add enters a child, which must not be there yet.
func (c *children) add(parent, id, node uint32) {
	if 2*(c.count+1) > len(c.slots) {
		old := c.slots
		c.slots = make([]childSlot, max(minIndex, 2*len(old)))
		for _, s := range old {
			if s.node != none {
				c.put(s)
			}
		}
	}
	c.put(childSlot{parent, id, node})
	c.count++
}

func (c *children) put(s childSlot) {
	i := c.home(s.parent, s.id)
	for c.slots[i].node != none {
		i = (i + 1) & c.mask()
	}
	c.slots[i] = s
}

// remove takes a child out, and moves up those that had to make way for it.
func (c *children) remove(parent, id uint32) {
	mask := c.mask()
	hole := c.home(parent, id)
	for c.slots[hole].parent != parent || c.slots[hole].id != id || c.slots[hole].node == none {
		hole = (hole + 1) & mask
	}
	c.slots[hole] = childSlot{}
	c.count--
	for i := (hole + 1) & mask; c.slots[i].node != none; i = (i + 1) & mask {
		// Leave it if its home lies behind the hole, cyclically.
		if (i-c.home(c.slots[i].parent, c.slots[i].id))&mask < (i-hole)&mask {
			continue
		}
		c.slots[hole], c.slots[i] = c.slots[i], childSlot{}
		hole = i
	}
}
