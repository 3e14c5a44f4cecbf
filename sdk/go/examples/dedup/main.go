// Drops a click whose id was seen within the window. The ids seen are the state.
package main

import (
	"errors"
	"maps"

	floe "floe.dev/sdk"
)

type Click struct {
	ID     string
	Amount int64
	At     floe.Millis `floe:"_timestamp"`
}

type First struct {
	ID     string
	Amount int64
}

type Dedup struct {
	windowMs int64
	lastSeen map[string]int64
}

var out = floe.NewOutput[First]("main")

func init() {
	floe.Register(floe.Options{Name: "dedup", Version: "1.0.0"}, &Dedup{3_600_000, map[string]int64{}})
}

func (d *Dedup) Open(config *floe.Config) error { return config.Get("window_ms", &d.windowMs) }

func (d *Dedup) Process(click *Click) error {
	if click.ID == "" {
		return errors.New("a click has no id")
	}
	if seen, isKnown := d.lastSeen[click.ID]; !isKnown || int64(click.At)-seen > d.windowMs {
		d.lastSeen[click.ID] = int64(click.At)
		out.Emit(&First{click.ID, click.Amount})
	}
	return nil
}

func (d *Dedup) Watermark(timeMs int64) error {
	maps.DeleteFunc(d.lastSeen, func(_ string, seen int64) bool { return seen < timeMs-d.windowMs })
	return nil
}

func main() {}
