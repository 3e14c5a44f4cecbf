package main

import (
	"reflect"
	"testing"

	floe "floe.dev/sdk"
)

func full(text string) row {
	pairs := []pair{{1, &text}, {2, nil}}
	return row{
		Do: "echo", Offset: 5, Boolean: floe.Ptr(true), Tiny: floe.Ptr(int8(-128)), Small: floe.Ptr(int16(-1)),
		Medium: floe.Ptr(int32(7)), Big: floe.Ptr(int64(-9)), Utiny: floe.Ptr(uint8(255)),
		Usmall: floe.Ptr(uint16(9)), Umedium: floe.Ptr(uint32(1 << 31)), Ubig: floe.Ptr(uint64(1 << 63)),
		Single: floe.Ptr(float32(0.5)), Twice: floe.Ptr(-1e300), Text: &text, Binary: &[]byte{0, 255},
		Fixed: &[4]byte{1, 2, 3, 4}, Date: floe.Ptr(floe.Date(-1)), Time: floe.Ptr(floe.TimeOfDay(1)),
		Millis: floe.Ptr(floe.Millis(2)), Micros: floe.Ptr(floe.Micros(3)), Nanos: floe.Ptr(floe.Nanos(4)),
		Decimal: &floe.Decimal{Low: 5, High: -1}, List: &[]*int64{floe.Ptr(int64(1)), nil},
		Pair: &pairs[0], Pairs: &pairs,
	}
}

// Rows go through the columns and come back, with nulls where they were.
func TestEchoesEveryType(t *testing.T) {
	tester, err := floe.NewTester[row]("{}")
	if err != nil {
		t.Fatal(err)
	}
	rows := []row{full("a"), {Do: "echo"}, full("é"), {Do: "reject", Text: floe.Ptr("no")}, full("")}
	rows = append(rows, rows[0], rows[1], rows[2], rows[1], rows[0])
	tester.Process(rows...)
	want := append(rows[:3:3], rows[4:]...)
	if found := floe.Emitted(tester, main0); !reflect.DeepEqual(found, want) {
		t.Errorf("found %+v", found)
	}
	if want := []floe.Rejected{{Row: 3, Reason: "no"}}; !reflect.DeepEqual(tester.Rejected, want) {
		t.Errorf("rejected %v", tester.Rejected)
	}
}

// The state is told in the order of the keys, and taken as it was told.
func TestTellsItsState(t *testing.T) {
	tester, err := floe.NewTester[row]("{}")
	if err != nil {
		t.Fatal(err)
	}
	keep := func(text string) row { return row{Do: "keep", Text: &text} }
	tester.Process(keep("b"), keep("a\"\n"), keep("b"))
	floe.Emitted(tester, main0)
	const want = `{"floe:by-key":["counts"],"counts":{"a\"\n":1,"b":2}}`
	told, err := tester.ExportState()
	if err != nil || string(told) != want {
		t.Errorf("told %s, %v", told, err)
	}
	the.counts = map[string]int64{}
	if err := tester.ImportState(7, told); err != nil {
		t.Error(err)
	}
	if again, err := tester.ExportState(); err != nil || string(again) != want {
		t.Errorf("told %s, %v", again, err)
	}
	if tester.ImportState(8, told) == nil {
		t.Error("version 8 is taken")
	}
}
