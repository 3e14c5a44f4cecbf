package floe

import (
	"fmt"
	"reflect"
	"strings"
	"unsafe"
)

type kind uint8

const (
	kindBool kind = iota
	kindPlain
	kindText
	kindBinary
	kindList
	kindStruct
)

// layout says where the value of a column stands in a row, and what it is. Rows are read and written by it
// without reflection.
type layout struct {
	name     string
	format   string
	kind     kind
	nullable bool
	offset   uintptr
	// size of the value itself, behind the pointer where it may be null.
	size uintptr
	typ  reflect.Type
	// fields of a struct; of a list its item.
	fields []*layout
}

var knownTypes = map[reflect.Type]string{
	reflect.TypeFor[Millis]():    "tsm:UTC",
	reflect.TypeFor[Micros]():    "tsu:UTC",
	reflect.TypeFor[Nanos]():     "tsn:UTC",
	reflect.TypeFor[Date]():      "tdD",
	reflect.TypeFor[TimeOfDay](): "ttu",
}

var plainKinds = map[reflect.Kind]string{
	reflect.Int8: "c", reflect.Int16: "s", reflect.Int32: "i", reflect.Int64: "l",
	reflect.Uint8: "C", reflect.Uint16: "S", reflect.Uint32: "I", reflect.Uint64: "L",
	reflect.Float32: "f", reflect.Float64: "g",
}

func layoutOf[T any]() *layout {
	typ := reflect.TypeFor[T]()
	if typ.Kind() != reflect.Struct {
		panic(fmt.Sprintf("floe: a row is a struct, and %v is none", typ))
	}
	return newLayout(typ, "", "", typ.String())
}

// newLayout panics for types that are no columns: at load, with the field's place.
func newLayout(typ reflect.Type, name, option, place string) *layout {
	l := &layout{name: name}
	if typ.Kind() == reflect.Pointer {
		l.nullable = true
		typ = typ.Elem()
	}
	l.typ, l.size = typ, typ.Size()
	if format, ok := knownTypes[typ]; ok {
		l.kind, l.format = kindPlain, format
		return l
	}
	if typ == reflect.TypeFor[Decimal]() {
		parameters, isDecimal := strings.CutPrefix(option, "decimal(")
		if !isDecimal {
			panic(fmt.Sprintf("floe: %s needs its precision: `floe:\"name,decimal(20,4)\"`", place))
		}
		l.kind, l.format = kindPlain, "d:"+strings.TrimSuffix(parameters, ")")
		return l
	}
	if format, ok := plainKinds[typ.Kind()]; ok {
		l.kind, l.format = kindPlain, format
		return l
	}
	switch typ.Kind() {
	case reflect.Bool:
		l.kind, l.format = kindBool, "b"
	case reflect.String:
		l.kind, l.format = kindText, "u"
	case reflect.Array:
		if typ.Elem().Kind() != reflect.Uint8 {
			panic(fmt.Sprintf("floe: %s: of arrays only [N]byte is a column", place))
		}
		l.kind, l.format = kindPlain, fmt.Sprintf("w:%d", typ.Len())
	case reflect.Slice:
		if typ.Elem().Kind() == reflect.Uint8 {
			l.kind, l.format = kindBinary, "z"
			return l
		}
		l.kind, l.format = kindList, "+l"
		l.fields = []*layout{newLayout(typ.Elem(), "item", option, place)}
	case reflect.Struct:
		l.kind, l.format = kindStruct, "+s"
		for i := range typ.NumField() {
			field := typ.Field(i)
			name, option, _ := strings.Cut(field.Tag.Get("floe"), ",")
			if name == "-" || !field.IsExported() {
				continue
			}
			if name == "" {
				name = snake(field.Name)
			}
			child := newLayout(field.Type, name, option, place+"."+field.Name)
			child.offset = field.Offset
			l.fields = append(l.fields, child)
		}
		if len(l.fields) == 0 {
			panic(fmt.Sprintf("floe: %s has no exported fields", place))
		}
	default:
		panic(fmt.Sprintf("floe: %s: %v is no column (README.md, Types)", place, typ))
	}
	return l
}

// snake turns MerchantID into merchant_id.
func snake(name string) string {
	var out strings.Builder
	for i, letter := range name {
		isUpper := letter >= 'A' && letter <= 'Z'
		if isUpper && i > 0 {
			before := name[i-1]
			endsWord := before < 'A' || before > 'Z'
			beginsWord := i+1 < len(name) && name[i+1] >= 'a' && name[i+1] <= 'z'
			if endsWord || beginsWord {
				out.WriteByte('_')
			}
		}
		if isUpper {
			letter += 'a' - 'A'
		}
		out.WriteRune(letter)
	}
	return out.String()
}

func pointerTo[T any](value *T) unsafe.Pointer { return unsafe.Pointer(value) }
