//go:build !wasm

package floe

import "fmt"

// The host's functions natively, for Tester.

type address uintptr

// Host is what a native test puts in the host's place.
type Host struct {
	NowMs    int64
	Seed     uint64
	Rejected []Rejected
	Lines    []string
	emit     func(output int, array *arrowArray)
}

// Rejected is a row that an operator would not take.
type Rejected struct {
	Row    int
	Reason string
}

var host = &Host{}

func hostEmit(output int, array *arrowArray) { host.emit(output, array) }
func hostReject(row int, reason string)      { host.Rejected = append(host.Rejected, Rejected{row, reason}) }
func hostNow() int64                         { return host.NowMs }
func hostLog(level uint32, text string) {
	names := []string{"ERROR", "WARN", "INFO", "DEBUG"}
	host.Lines = append(host.Lines, fmt.Sprintf("%s %s", names[min(level, 3)], text))
}

// hostRandom is splitmix64: other numbers than the host's, and repeatable like them.
func hostRandom() uint64 {
	host.Seed += 0x9e3779b97f4a7c15
	bits := host.Seed
	bits = (bits ^ bits>>30) * 0xbf58476d1ce4e5b9
	bits = (bits ^ bits>>27) * 0x94d049bb133111eb
	return bits ^ bits>>31
}
