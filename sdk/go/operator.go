// Package floe is for operators in Go: rows are structs, the fields of a struct are the state, and one
// method takes a row and emits rows. README.md has the chapters.
package floe

import "fmt"

// Operator is what an author writes. In is a struct whose exported fields are the input's columns.
// Its fields are its state: they are checkpointed as they are.
type Operator[In any] interface {
	// Process takes one row, which is good until Process returns; its texts may be kept.
	// An error rejects this row and takes back what was emitted for it. A panic stops the pipeline.
	Process(row *In) error
}

// Opener is an Operator that reads its configuration. An error stops the pipeline.
type Opener interface {
	Open(config *Config) error
}

// Watermarker is an Operator that is told event time. No record before timeMs will come any more.
type Watermarker interface {
	Watermark(timeMs int64) error
}

// Options of a module.
type Options struct {
	Name    string
	Version string
	// StateVersion is another one when the state means something else; 0 is 1.
	StateVersion uint32
}

// Output is one of the module's outputs; rows go out through it.
type Output[Out any] struct {
	builder *builder
}

// NewOutput declares an output, in the order of the calls: the first is the one that goes on. Call it in
// a package variable's initialisation, before Register.
func NewOutput[Out any](name string) *Output[Out] {
	builder := newBuilder(name, layoutOf[Out]())
	module.outputs = append(module.outputs, builder)
	return &Output[Out]{builder}
}

// Emit hands out a row. What it points to is copied.
func (o *Output[Out]) Emit(row *Out) { o.builder.append(pointerTo(row)) }

// Register makes an operator the module's. Call it in init; main stays empty.
func Register[In any](options Options, operator Operator[In]) {
	if module.process != nil {
		panic("floe.Register is called once")
	}
	if options.StateVersion == 0 {
		options.StateVersion = 1
	}
	module.options = options
	module.input = layoutOf[In]()
	module.operator = operator
	rows := make([]In, chunkRows)
	reader := newReader(module.input)
	module.process = func(batch *arrowArray) {
		reader.begin(batch)
		for first := 0; first < int(batch.length); first += chunkRows {
			count := min(chunkRows, int(batch.length)-first)
			reader.read(first, count, pointerTo(&rows[0]))
			for row := range count {
				if err := operator.Process(&rows[row]); err != nil {
					takeBack()
					hostReject(first+row, err.Error())
				}
				handOverLarge()
			}
		}
		clear(rows)
		reader.end()
	}
}

// chunkRows are turned into structs at once: they stay in the processor's nearest cache.
const chunkRows = 256

// module is what this one module is made of.
var module struct {
	options  Options
	input    *layout
	outputs  []*builder
	operator any
	process  func(batch *arrowArray)
}

func open(config string) error {
	parsed, err := parseConfig(config)
	if err != nil {
		return err
	}
	if opener, ok := module.operator.(Opener); ok {
		if err := opener.Open(parsed); err != nil {
			return err
		}
	}
	return parsed.refuseUnread()
}

func watermark(timeMs int64) error {
	operator, ok := module.operator.(Watermarker)
	if !ok {
		return nil
	}
	if err := operator.Watermark(timeMs); err != nil {
		return err
	}
	handOver()
	return nil
}

// waitingBytesMax bounds the memory of an operator that emits much more than it takes in.
const waitingBytesMax = 8 << 20

func handOverLarge() {
	for index, output := range module.outputs {
		if output.length >= output.checkAt {
			output.checkAt = output.length + 1024
			if output.root.bytes() > waitingBytesMax {
				output.handOver(index)
			}
		}
		output.before = output.length
	}
}

func handOver() {
	for index, output := range module.outputs {
		output.handOver(index)
	}
}

func takeBack() {
	for _, output := range module.outputs {
		output.truncate(output.before)
	}
}

// LogLevel is the importance of a line.
type LogLevel uint32

const (
	Error LogLevel = iota
	Warn
	Info
	Debug
)

// Log writes a line to the pipeline's log.
func Log(level LogLevel, format string, values ...any) {
	hostLog(uint32(level), cut(fmt.Sprintf(format, values...)))
}

// Now is the virtual time in milliseconds: the greatest timestamp of the partition's records so far. It is the
// same when a record is processed again; time.Now says the same.
func Now() int64 { return hostNow() }

// Random is 64 random bits from a seed in the checkpoint; math/rand and crypto/rand follow from it too.
func Random() uint64 { return hostRandom() }

const textBytesMax = 65536

// cut shortens a text to what the host takes, between two letters.
func cut(text string) string {
	if len(text) <= textBytesMax {
		return text
	}
	end := textBytesMax
	for end > 0 && text[end]&0xc0 == 0x80 {
		end--
	}
	return text[:end]
}
