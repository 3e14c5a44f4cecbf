// Payments as the bytes of their JSON.
package main

import (
	"errors"

	"floe.dev/bench/totals"
	floe "floe.dev/sdk"
)

type Record struct {
	Value *[]byte `floe:"_value"`
}

type Raw struct{ totals totals.Totals }

var out = floe.NewOutput[totals.Total]("main")

var errNoPayment = errors.New("no payment")

func init() { floe.Register(floe.Options{Name: "totals_raw", Version: "1.0.0"}, &Raw{}) }

func (r *Raw) Process(record *Record) error {
	if record.Value == nil {
		return errNoPayment
	}
	merchant, amount, ok := totals.Payment(*record.Value)
	if !ok {
		return errNoPayment
	}
	out.Emit(&totals.Total{Merchant: merchant, Total: r.totals.Add(merchant, amount)})
	return nil
}

func main() {}
