// Package totals is a running total for each merchant: as rust/src/lib.rs has it, step by step.
package totals

// Total is what comes out for each payment.
type Total struct {
	Merchant int64
	Total    int64
}

const slotCount = 4096

// Totals is open addressing. Merchant 0 is an empty slot.
type Totals struct {
	slots [slotCount]Total
}

// Add gives the merchant's total with this payment.
func (t *Totals) Add(merchant, amount int64) int64 {
	for at := (uint64(merchant) * 0x9e3779b97f4a7c15) >> 52; ; at++ {
		slot := &t.slots[at%slotCount]
		if slot.Merchant == merchant {
			slot.Total += amount
			return slot.Total
		}
		if slot.Merchant == 0 {
			*slot = Total{merchant, amount}
			return amount
		}
	}
}

// Payment reads merchant and amount of a payment as JSON: an object of texts, whole numbers and words.
func Payment(json []byte) (merchant, amount int64, ok bool) {
	var hasMerchant, hasAmount bool
	if len(json) == 0 || json[0] != '{' {
		return 0, 0, false
	}
	at := 1
	for {
		name, next, isText := text(json, at)
		at = next
		if !isText || at >= len(json) || json[at] != ':' {
			return 0, 0, false
		}
		at++
		if at >= len(json) {
			return 0, 0, false
		}
		switch first := json[at]; {
		case first == '"':
			_, next, isText := text(json, at)
			at = next
			if !isText {
				return 0, 0, false
			}
		case first == '-' || '0' <= first && first <= '9':
			var value int64
			value, at = number(json, at)
			switch string(name) {
			case "merchant":
				merchant, hasMerchant = value, true
			case "amount_minor":
				amount, hasAmount = value, true
			}
		default:
			for at < len(json) && 'a' <= json[at] && json[at] <= 'z' {
				at++
			}
		}
		if at >= len(json) {
			return 0, 0, false
		}
		switch json[at] {
		case ',':
			at++
		case '}':
			return merchant, amount, hasMerchant && hasAmount
		default:
			return 0, 0, false
		}
	}
}

// Between its quotes, as it is written.
func text(json []byte, at int) (between []byte, next int, ok bool) {
	if at >= len(json) || json[at] != '"' {
		return nil, at, false
	}
	begin := at + 1
	for end := begin; end < len(json); end++ {
		switch json[end] {
		case '"':
			return json[begin:end], end + 1, true
		case '\\':
			end++
		}
	}
	return nil, at, false
}

func number(json []byte, at int) (value int64, next int) {
	negative := json[at] == '-'
	if negative {
		at++
	}
	for at < len(json) && '0' <= json[at] && json[at] <= '9' {
		value = value*10 + int64(json[at]-'0')
		at++
	}
	if negative {
		value = -value
	}
	return value, at
}
