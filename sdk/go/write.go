package floe

import "unsafe"

// builder keeps the rows of one output as columns until they are handed over.
type builder struct {
	name           string
	length, before int
	checkAt        int
	root           *column
}

func newBuilder(name string, layout *layout) *builder {
	return &builder{name: name, checkAt: 1024, root: newColumn(layout)}
}

func (b *builder) append(row unsafe.Pointer) {
	for _, child := range b.root.children {
		child.append(unsafe.Add(row, child.layout.offset))
	}
	b.root.length++
	b.length++
}

func (b *builder) truncate(rows int) {
	b.root.truncate(rows)
	b.length = rows
}

func (b *builder) handOver(index int) {
	if b.length > 0 {
		hostEmit(index, b.root.seal())
	}
	b.truncate(0)
	b.before, b.checkAt = 0, 1024
}

// column is the values of one column: Arrow's buffers, which only grow.
type column struct {
	layout            *layout
	length, nullCount int
	// validity is written from the first null on.
	validity, data []byte
	offsets        []int32
	children       []*column

	array       arrowArray
	buffers     [3]address
	childArrays []address
}

func newColumn(layout *layout) *column {
	c := &column{layout: layout}
	if layout.kind == kindText || layout.kind == kindBinary || layout.kind == kindList {
		c.offsets = append(c.offsets, 0)
	}
	for _, field := range layout.fields {
		c.children = append(c.children, newColumn(field))
	}
	return c
}

func pushBit(bits []byte, at int, value bool) []byte {
	if at%8 == 0 {
		bits = append(bits, 0)
	}
	if value {
		bits[at/8] |= 1 << (at % 8)
	}
	return bits
}

// append takes the value at the place of the row's field.
func (c *column) append(at unsafe.Pointer) {
	if c.layout.nullable {
		at = *(*unsafe.Pointer)(at)
		if at == nil {
			c.appendNull()
			return
		}
	}
	if c.nullCount > 0 {
		c.validity = pushBit(c.validity, c.length, true)
	}
	switch c.layout.kind {
	case kindBool:
		c.data = pushBit(c.data, c.length, *(*bool)(at))
	case kindPlain:
		switch c.layout.size {
		case 8:
			value := *(*[8]byte)(at)
			c.data = append(c.data, value[:]...)
		default:
			c.data = append(c.data, unsafe.Slice((*byte)(at), c.layout.size)...)
		}
	case kindText:
		c.data = append(c.data, *(*string)(at)...)
		c.offsets = append(c.offsets, int32(len(c.data)))
	case kindBinary:
		c.data = append(c.data, *(*[]byte)(at)...)
		c.offsets = append(c.offsets, int32(len(c.data)))
	case kindStruct:
		for _, child := range c.children {
			child.append(unsafe.Add(at, child.layout.offset))
		}
	case kindList:
		list := (*sliceHeader)(at)
		size := c.layout.typ.Elem().Size()
		for item := range list.len {
			c.children[0].append(unsafe.Add(list.data, uintptr(item)*size))
		}
		c.offsets = append(c.offsets, int32(c.children[0].length))
	}
	c.length++
}

func (c *column) appendNull() {
	if c.nullCount == 0 {
		c.validity = c.validity[:0]
		for row := range c.length {
			c.validity = pushBit(c.validity, row, true)
		}
	}
	c.nullCount++
	c.validity = pushBit(c.validity, c.length, false)
	switch c.layout.kind {
	case kindBool:
		c.data = pushBit(c.data, c.length, false)
	case kindPlain:
		for left := c.layout.size; left > 0; left -= min(left, 16) {
			c.data = append(c.data, zeros[:min(left, 16)]...)
		}
	case kindText, kindBinary:
		c.offsets = append(c.offsets, int32(len(c.data)))
	case kindStruct:
		for _, child := range c.children {
			child.appendNull()
		}
	case kindList:
		c.offsets = append(c.offsets, int32(c.children[0].length))
	}
	c.length++
}

var zeros [16]byte

func truncateBits(bits []byte, length int) []byte {
	bits = bits[:(length+7)/8]
	if length%8 != 0 {
		bits[length/8] &= 1<<(length%8) - 1
	}
	return bits
}

func (c *column) truncate(length int) {
	if length >= c.length {
		return
	}
	if c.nullCount > 0 {
		for row := length; row < c.length; row++ {
			if c.validity[row/8]>>(row%8)&1 == 0 {
				c.nullCount--
			}
		}
		c.validity = truncateBits(c.validity, length)
	}
	if c.offsets != nil {
		c.offsets = c.offsets[:length+1]
	}
	switch c.layout.kind {
	case kindBool:
		c.data = truncateBits(c.data, length)
	case kindPlain:
		c.data = c.data[:length*int(c.layout.size)]
	case kindText, kindBinary:
		c.data = c.data[:c.offsets[length]]
	case kindStruct:
		for _, child := range c.children {
			child.truncate(length)
		}
	case kindList:
		c.children[0].truncate(int(c.offsets[length]))
	}
	c.length = length
}

func (c *column) bytes() int {
	bytes := len(c.validity) + len(c.data) + 4*len(c.offsets)
	for _, child := range c.children {
		bytes += child.bytes()
	}
	return bytes
}

func (c *column) seal() *arrowArray {
	// The buffers stay where they are: Go's collector moves nothing, and the column holds them.
	c.buffers = [3]address{}
	if c.nullCount > 0 {
		c.buffers[0] = addressOf(unsafe.Pointer(unsafe.SliceData(c.validity)))
	}
	count := 1
	if c.offsets != nil {
		c.buffers[count] = addressOf(unsafe.Pointer(unsafe.SliceData(c.offsets)))
		count++
	}
	if c.layout.kind < kindList {
		c.buffers[count] = addressOf(unsafe.Pointer(unsafe.SliceData(c.data)))
		count++
	}
	c.childArrays = c.childArrays[:0]
	for _, child := range c.children {
		c.childArrays = append(c.childArrays, addressOf(unsafe.Pointer(child.seal())))
	}
	c.array = arrowArray{
		length: int64(c.length), nullCount: int64(c.nullCount),
		nBuffers: int64(count), nChildren: int64(len(c.children)),
		buffers:  addressOf(unsafe.Pointer(&c.buffers)),
		children: addressOf(unsafe.Pointer(unsafe.SliceData(c.childArrays))),
	}
	return &c.array
}
