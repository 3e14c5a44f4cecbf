//go:build !wasm

package floe

// Tester runs the registered operator natively: rows pass through the same columns as in a pipeline.
//
//	tester, err := floe.NewTester[Click](`{"window_ms": 1000}`)
//	tester.Process(Click{ID: "a"})
//	rows := floe.Emitted(tester, output)
type Tester[In any] struct {
	*Host
	in      *builder
	emitted [][]emittedColumn
}

type emittedColumn struct {
	array *arrowArray
	// column holds what array points to.
	column *column
}

// NewTester opens the registered operator with a configuration in JSON.
func NewTester[In any](config string) (*Tester[In], error) {
	t := &Tester[In]{Host: &Host{}, in: newBuilder("", layoutOf[In]())}
	t.emitted = make([][]emittedColumn, len(module.outputs))
	host = t.Host
	for _, output := range module.outputs {
		output.truncate(0)
	}
	t.emit = func(output int, array *arrowArray) {
		// The builder is used again, so its columns are taken and it gets new ones.
		builder := module.outputs[output]
		t.emitted[output] = append(t.emitted[output], emittedColumn{array, builder.root})
		builder.root = newColumn(builder.root.layout)
	}
	return t, open(config)
}

// Process gives the operator rows as one batch.
func (t *Tester[In]) Process(rows ...In) {
	if len(rows) == 0 {
		return
	}
	for index := range rows {
		t.in.append(pointerTo(&rows[index]))
	}
	module.process(t.in.root.seal())
	handOver()
	t.in.truncate(0)
}

// Watermark tells the operator that no record before timeMs will come any more.
func (t *Tester[In]) Watermark(timeMs int64) error { return watermark(timeMs) }

// ExportState gives the operator's state as JSON.
func (t *Tester[In]) ExportState() ([]byte, error) { return exportState() }

// ImportState gives the operator a state that it told, in this version or in another.
func (t *Tester[In]) ImportState(version uint32, state []byte) error {
	return importState(version, state)
}

// Emitted takes the rows of an output that came since the last look.
func Emitted[In, Out any](t *Tester[In], output *Output[Out]) []Out {
	var all []Out
	for index, builder := range module.outputs {
		if builder != output.builder {
			continue
		}
		for _, emitted := range t.emitted[index] {
			rows := make([]Out, emitted.array.length)
			reader := newReader(emitted.column.layout)
			reader.begin(emitted.array)
			reader.read(0, len(rows), pointerTo(&rows[0]))
			all = append(all, rows...)
		}
		t.emitted[index] = nil
	}
	return all
}
