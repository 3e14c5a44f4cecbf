// Lets each payment through once, by its id. The ids seen are the state.
package main

import floe "floe.dev/sdk"

type Payment struct {
	TxnID      string
	MerchantID string
	Amount     int64 `floe:"amount_minor"`
	Partition  int32 `floe:"_partition"`
	Offset     int64 `floe:"_offset"`
}

type First struct {
	Txn, Merchant string
	Amount        int64
	Partition     int32
	Offset        int64
}

type Unique struct{ seen map[string]struct{} }

var out = floe.NewOutput[First]("main")

func init() {
	floe.Register(floe.Options{Name: "unique", Version: "1.0.0"}, &Unique{map[string]struct{}{}})
}

func (u *Unique) Process(payment *Payment) error {
	if _, isKnown := u.seen[payment.TxnID]; !isKnown {
		u.seen[payment.TxnID] = struct{}{}
		out.Emit(&First{payment.TxnID, payment.MerchantID, payment.Amount, payment.Partition, payment.Offset})
	}
	return nil
}

func main() {}
