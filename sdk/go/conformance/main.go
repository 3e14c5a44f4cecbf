// The conformance operator in Go: what it must do is written in sdk/abi/CONFORMANCE.md.
package main

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	floe "floe.dev/sdk"
)

type pair struct {
	A int64
	B *string
}

type row struct {
	Do      string
	Offset  int64 `floe:"_offset"`
	Boolean *bool
	Tiny    *int8
	Small   *int16
	Medium  *int32
	Big     *int64
	Utiny   *uint8
	Usmall  *uint16
	Umedium *uint32
	Ubig    *uint64
	Single  *float32
	Twice   *float64
	Text    *string
	Binary  *[]byte
	Fixed   *[4]byte
	Date    *floe.Date
	Time    *floe.TimeOfDay
	Millis  *floe.Millis
	Micros  *floe.Micros
	Nanos   *floe.Nanos
	Decimal *floe.Decimal `floe:"decimal,decimal(20,4)"`
	List    *[]*int64
	Pair    *pair
	Pairs   *[]pair
}

type second struct{ Text string }

type operator struct {
	greeting string
	counts   map[string]int64
	kept     [][]byte
}

var the = &operator{counts: map[string]int64{}}

var (
	main0 = floe.NewOutput[row]("main")
	extra = floe.NewOutput[second]("second")
)

func init() {
	options := floe.Options{Name: "conformance", Version: "1.0.0", StateVersion: 7}
	floe.Register(options, the)
}

func (o *operator) Open(config *floe.Config) error {
	var why string
	if err := errors.Join(config.Get("greeting", &o.greeting), config.Get("fail", &why)); err != nil {
		return err
	}
	if why != "" {
		return errors.New(why)
	}
	return nil
}

func (o *operator) Process(r *row) error {
	text := ""
	if r.Text != nil {
		text = *r.Text
	}
	out := *r
	switch r.Do {
	case "echo":
	case "many":
		for range *r.Big {
			main0.Emit(r)
		}
		return nil
	case "second":
		extra.Emit(&second{text})
		return nil
	case "reject":
		main0.Emit(r)
		return errors.New(text)
	case "fail":
		panic(text)
	case "panic":
		var none []int
		none[len(text)]++
	case "log":
		floe.Log(floe.LogLevel(*r.Medium), "%s", text)
		return nil
	case "now":
		out.Big = floe.Ptr(floe.Now())
	case "clock":
		out.Big = floe.Ptr(time.Now().UnixMilli())
	case "random":
		out.Ubig = floe.Ptr(floe.Random())
	case "keep":
		o.counts[text]++
		out.Big = floe.Ptr(o.counts[text])
	case "keys":
		var keys []string
		for key := range o.counts {
			keys = append(keys, key)
		}
		out.Text = floe.Ptr(strings.Join(keys, ","))
	case "grow":
		more := make([]byte, *r.Big)
		for i := range more {
			more[i] = 7
		}
		o.kept = append(o.kept, more)
		total := int64(0)
		for _, it := range o.kept {
			total += int64(len(it))
		}
		out.Big = &total
	case "spin":
		for {
		}
	case "config":
		out.Text = &o.greeting
	default:
		return errors.New("no such command")
	}
	main0.Emit(&out)
	return nil
}

func (o *operator) Watermark(timeMs int64) error {
	main0.Emit(&row{Do: "watermark", Big: &timeMs})
	return nil
}

type told struct {
	ByKey  []string         `json:"floe:by-key"`
	Counts map[string]int64 `json:"counts"`
}

func (o *operator) ExportState() (any, error) {
	return told{ByKey: []string{"counts"}, Counts: o.counts}, nil
}

func (o *operator) ImportState(version uint32, state []byte) error {
	if version != 7 {
		return errors.New("it is not known")
	}
	taken := told{Counts: o.counts}
	return json.Unmarshal(state, &taken)
}

func main() {}
