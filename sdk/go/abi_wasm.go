//go:build wasm

package floe

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/debug"
	"unsafe"
)

// The functions of the host (A4).

//go:wasmimport floe_v1 emit
func importEmit(output uint32, array unsafe.Pointer)

//go:wasmimport floe_v1 reject
func importReject(row uint32, reason unsafe.Pointer, reasonLen uint32)

//go:wasmimport floe_v1 log
func importLog(level uint32, text unsafe.Pointer, textLen uint32)

//go:wasmimport floe_v1 now
func hostNow() int64

//go:wasmimport floe_v1 random
func hostRandom() uint64

//go:wasmimport floe_v1 fail
func importFail(text unsafe.Pointer, textLen uint32)

func hostEmit(output int, array *arrowArray) {
	importEmit(uint32(output), unsafe.Pointer(array))
}

func hostReject(row int, reason string) {
	reason = cut(reason)
	importReject(uint32(row), unsafe.Pointer(unsafe.StringData(reason)), uint32(len(reason)))
}

func hostLog(level uint32, text string) {
	importLog(level, unsafe.Pointer(unsafe.StringData(text)), uint32(len(text)))
}

func fail(text string) {
	text = cut(text)
	importFail(unsafe.Pointer(unsafe.StringData(text)), uint32(len(text)))
}

// failOnPanic gives a panic its message and its place; the host ends the call.
func failOnPanic() {
	if cause := recover(); cause != nil {
		place := ""
		// The frames between are the runtime's, of the panic itself.
		for skip := 1; skip < 10; skip++ {
			_, file, line, ok := runtime.Caller(skip)
			if !ok {
				break
			}
			if !isRuntime(file) {
				place = fmt.Sprintf(" (%s:%d)", file, line)
				break
			}
		}
		fail(fmt.Sprintf("panic: %v%s", cause, place))
	}
}

func isRuntime(file string) bool {
	for i := 0; i+9 <= len(file); i++ {
		if file[i:i+9] == "/runtime/" || file[i:i+9] == "/abi_wasm" {
			return true
		}
	}
	return false
}

// region is where the host writes its input (A10). It is kept here, so the collector leaves it.
var region []byte

//go:wasmexport floe_v1_input
func exportInput(size uint32) unsafe.Pointer {
	defer failOnPanic()
	if int(size)+64 > len(region) {
		// What was input is no state.
		clear(region)
		region = make([]byte, int(size)+64)
	}
	start := uintptr(unsafe.Pointer(unsafe.SliceData(region)))
	return unsafe.Add(unsafe.Pointer(unsafe.SliceData(region)), (64-start%64)%64)
}

//go:wasmexport floe_v1_describe
func exportDescribe() unsafe.Pointer {
	defer failOnPanic()
	return describe()
}

//go:wasmexport floe_v1_open
func exportOpen(config unsafe.Pointer, configLen uint32) int32 {
	defer failOnPanic()
	if err := open(string(unsafe.Slice((*byte)(config), configLen))); err != nil {
		fail(err.Error())
	}
	return 0
}

//go:wasmexport floe_v1_process
func exportProcess(array unsafe.Pointer) int32 {
	defer failOnPanic()
	module.process((*arrowArray)(array))
	handOver()
	return 0
}

//go:wasmexport floe_v1_watermark
func exportWatermark(timeMs int64) int32 {
	defer failOnPanic()
	if err := watermark(timeMs); err != nil {
		fail(err.Error())
	}
	return 0
}

// stateTold is a floe_state (A24): version, address and length of the text.
var stateTold struct {
	layout [3]address
	text   []byte
}

//go:wasmexport floe_v1_export_state
func exportExportState() unsafe.Pointer {
	defer failOnPanic()
	// The host drops the instance afterwards: what is collected later need not be collected now.
	debug.SetGCPercent(1000)
	text, err := exportState()
	if err != nil {
		fail(err.Error())
	}
	stateTold.text = text
	stateTold.layout = [3]address{
		address(module.options.StateVersion), addressOf(unsafe.Pointer(unsafe.SliceData(text))), address(len(text)),
	}
	return unsafe.Pointer(&stateTold.layout)
}

//go:wasmexport floe_v1_import_state
func exportImportState(states unsafe.Pointer, count uint32) int32 {
	defer failOnPanic()
	if count != 1 {
		fail("several states cannot be merged by this operator")
	}
	state := (*[3]uint32)(states)
	text := unsafe.Slice((*byte)(unsafe.Pointer(uintptr(state[1]))), state[2])
	// The host's text is no state, and an operator may keep a part of what it gets.
	if err := importState(state[0], bytes.Clone(text)); err != nil {
		fail(err.Error())
	}
	return 0
}

type address uint32

type arrowSchema struct {
	format, name, metadata                     address
	flags, nChildren                           int64
	children, dictionary, release, privateData address
}

// A6, A11: the layouts on wasm32.
const (
	_ = uint(unsafe.Sizeof(arrowSchema{}) - 48)
	_ = uint(48 - unsafe.Sizeof(arrowSchema{}))
	_ = uint(unsafe.Sizeof(arrowArray{}) - 64)
	_ = uint(64 - unsafe.Sizeof(arrowArray{}))
)

// kept holds what the description points to: the collector doesn't see addresses.
var kept []any

func keep[T any](value *T) address {
	kept = append(kept, value)
	return addressOf(unsafe.Pointer(value))
}

var described unsafe.Pointer

// describe lays out a floe_description (A5).
func describe() unsafe.Pointer {
	if module.process == nil {
		fail("no operator: call floe.Register in init")
	}
	if described == nil {
		outputs := make([]address, 0, 3*len(module.outputs))
		for _, output := range module.outputs {
			outputs = append(outputs, text(output.name), address(len(output.name)), schema(output.root.layout))
		}
		options := module.options
		described = unsafe.Pointer(keep(&[8]address{
			text(options.Name), address(len(options.Name)), text(options.Version), address(len(options.Version)),
			address(options.StateVersion), schema(module.input), address(len(module.outputs)), slice(outputs),
		}).pointer())
	}
	return described
}

func slice(values []address) address {
	if len(values) == 0 {
		return 0
	}
	kept = append(kept, values)
	return addressOf(unsafe.Pointer(&values[0]))
}

// text has a zero behind it.
func text(value string) address {
	return keep(&append([]byte(value), 0)[0])
}

func schema(layout *layout) address {
	children := make([]address, 0, len(layout.fields))
	for _, field := range layout.fields {
		children = append(children, schema(field))
	}
	s := &arrowSchema{
		format: text(layout.format), name: text(layout.name),
		nChildren: int64(len(children)), children: slice(children),
	}
	if layout.nullable {
		s.flags = 2
	}
	return keep(s)
}
