package floe

import (
	"bytes"
	"reflect"
	"unsafe"
)

// arrowArray is the struct of the Arrow C Data Interface (A11). Go's own pointers have 8 bytes in
// WebAssembly, and those of the ABI 4: an address is one, and in native tests as wide as the machine's.
type arrowArray struct {
	length, nullCount, offset, nBuffers, nChildren      int64
	buffers, children, dictionary, release, privateData address
}

const addressBytes = unsafe.Sizeof(address(0))

func (at address) pointer() unsafe.Pointer { return unsafe.Pointer(uintptr(at)) }

func addressOf(pointer unsafe.Pointer) address { return address(uintptr(pointer)) }

func (a *arrowArray) buffer(index uintptr) unsafe.Pointer {
	return (*(*address)(unsafe.Add(a.buffers.pointer(), index*addressBytes))).pointer()
}

func (a *arrowArray) child(index int) *arrowArray {
	at := unsafe.Add(a.children.pointer(), uintptr(index)*addressBytes)
	return (*arrowArray)((*(*address)(at)).pointer())
}

// reader turns columns into rows.
type reader struct {
	layout   *layout
	array    *arrowArray
	children []*reader
	// text or bytes is the column's whole data, copied once a batch: rows hold pieces of it, which may be kept.
	text  string
	bytes []byte
}

func newReader(layout *layout) *reader {
	r := &reader{layout: layout}
	for _, field := range layout.fields {
		r.children = append(r.children, newReader(field))
	}
	return r
}

func (r *reader) begin(array *arrowArray) {
	r.array = array
	if r.layout.kind == kindText || r.layout.kind == kindBinary {
		ends := unsafe.Slice((*int32)(array.buffer(1)), array.length+1)
		r.text, r.bytes = "", nil
		if size := ends[array.length]; size > 0 {
			data := unsafe.Slice((*byte)(array.buffer(2)), size)
			if r.layout.kind == kindText {
				r.text = string(data)
			} else {
				r.bytes = bytes.Clone(data)
			}
		}
	}
	for index, child := range r.children {
		child.begin(array.child(index))
	}
}

// end forgets the batch, so that nothing holds what no row was kept of.
func (r *reader) end() {
	r.array, r.text, r.bytes = nil, "", nil
	for _, child := range r.children {
		child.end()
	}
}

// read writes the fields of count rows, which stand one behind the other at rows.
func (r *reader) read(first, count int, rows unsafe.Pointer) {
	for _, child := range r.children {
		child.readTo(first, count, unsafe.Add(rows, child.layout.offset), r.layout.size)
	}
}

func bit(bits unsafe.Pointer, at int) bool {
	return *(*byte)(unsafe.Add(bits, at/8))>>(at%8)&1 != 0
}

// readTo writes count values, stride bytes apart.
func (r *reader) readTo(first, count int, to unsafe.Pointer, stride uintptr) {
	if !r.layout.nullable {
		r.values(first, count, to, stride)
		return
	}
	// One allocation for the values of all rows; the rows point into it.
	values := reflect.MakeSlice(reflect.SliceOf(r.layout.typ), count, count).UnsafePointer()
	r.values(first, count, values, r.layout.size)
	for row := range count {
		value := (*unsafe.Pointer)(unsafe.Add(to, uintptr(row)*stride))
		if r.array.nullCount != 0 && !bit(r.array.buffer(0), first+row) {
			*value = nil
		} else {
			*value = unsafe.Add(values, uintptr(row)*r.layout.size)
		}
	}
}

func copyPlain[T any](data unsafe.Pointer, first, count int, to unsafe.Pointer, stride uintptr) {
	values := unsafe.Slice((*T)(data), first+count)[first:]
	for row, value := range values {
		*(*T)(unsafe.Add(to, uintptr(row)*stride)) = value
	}
}

func (r *reader) values(first, count int, to unsafe.Pointer, stride uintptr) {
	switch r.layout.kind {
	case kindBool:
		bits := r.array.buffer(1)
		for row := range count {
			*(*bool)(unsafe.Add(to, uintptr(row)*stride)) = bit(bits, first+row)
		}
	case kindPlain:
		data := r.array.buffer(1)
		switch size := r.layout.size; size {
		case 1:
			copyPlain[uint8](data, first, count, to, stride)
		case 2:
			copyPlain[uint16](data, first, count, to, stride)
		case 4:
			copyPlain[uint32](data, first, count, to, stride)
		case 8:
			copyPlain[uint64](data, first, count, to, stride)
		default:
			for row := range count {
				source := unsafe.Slice((*byte)(unsafe.Add(data, uintptr(first+row)*size)), size)
				copy(unsafe.Slice((*byte)(unsafe.Add(to, uintptr(row)*stride)), size), source)
			}
		}
	case kindText:
		ends := unsafe.Slice((*int32)(r.array.buffer(1)), first+count+1)[first:]
		for row := range count {
			*(*string)(unsafe.Add(to, uintptr(row)*stride)) = r.text[ends[row]:ends[row+1]]
		}
	case kindBinary:
		ends := unsafe.Slice((*int32)(r.array.buffer(1)), first+count+1)[first:]
		for row := range count {
			begin, end := ends[row], ends[row+1]
			// With no room behind it: what is appended to it goes elsewhere, not into the next row's.
			*(*[]byte)(unsafe.Add(to, uintptr(row)*stride)) = r.bytes[begin:end:end]
		}
	case kindStruct:
		for _, child := range r.children {
			child.readTo(first, count, unsafe.Add(to, child.layout.offset), stride)
		}
	case kindList:
		ends := unsafe.Slice((*int32)(r.array.buffer(1)), first+count+1)[first:]
		begin, end := int(ends[0]), int(ends[count])
		item := r.children[0]
		typ := r.layout.typ
		// Of a nullable item the slice's element is the pointer.
		items := reflect.MakeSlice(typ, end-begin, end-begin)
		if end > begin {
			item.readTo(begin, end-begin, items.UnsafePointer(), typ.Elem().Size())
		}
		for row := range count {
			from, until := int(ends[row])-begin, int(ends[row+1])-begin
			piece := items.Slice3(from, until, until)
			*(*sliceHeader)(unsafe.Add(to, uintptr(row)*stride)) =
				sliceHeader{piece.UnsafePointer(), until - from, until - from}
		}
	}
}

// sliceHeader is how Go lays out a slice.
type sliceHeader struct {
	data     unsafe.Pointer
	len, cap int
}
