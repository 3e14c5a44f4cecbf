// Payments as columns.
package main

import (
	"floe.dev/bench/totals"
	floe "floe.dev/sdk"
)

type Payment struct {
	Merchant    int64
	AmountMinor int64 `floe:"amount_minor"`
}

type Typed struct{ totals totals.Totals }

var out = floe.NewOutput[totals.Total]("main")

func init() { floe.Register(floe.Options{Name: "totals_typed", Version: "1.0.0"}, &Typed{}) }

func (t *Typed) Process(it *Payment) error {
	out.Emit(&totals.Total{Merchant: it.Merchant, Total: t.totals.Add(it.Merchant, it.AmountMinor)})
	return nil
}

func main() {}
