package main

import (
	"reflect"
	"testing"

	floe "floe.dev/sdk"
)

func TestDedup(t *testing.T) {
	tester, err := floe.NewTester[Click](`{"window_ms": 1000}`)
	if err != nil {
		t.Fatal(err)
	}
	tester.Process(Click{"a", 1, 0}, Click{"a", 2, 1000}, Click{"", 3, 0}, Click{"b", 4, 10}, Click{"a", 5, 1001})
	rows := floe.Emitted(tester, out)
	if want := []First{{"a", 1}, {"b", 4}, {"a", 5}}; !reflect.DeepEqual(rows, want) {
		t.Errorf("rows %v, want %v", rows, want)
	}
	if want := []floe.Rejected{{Row: 2, Reason: "a click has no id"}}; !reflect.DeepEqual(tester.Rejected, want) {
		t.Errorf("rejected %v, want %v", tester.Rejected, want)
	}
	if err := tester.Watermark(1500); err != nil {
		t.Fatal(err)
	}
	tester.Process(Click{"b", 6, 1011}, Click{"b", 7, 1012})
	if rows := floe.Emitted(tester, out); len(rows) != 1 || rows[0].Amount != 6 {
		t.Errorf("after the watermark: %v", rows)
	}
	if _, err := floe.NewTester[Click](`{"window": 1}`); err == nil {
		t.Error("a key that nobody knows is taken")
	}
}
