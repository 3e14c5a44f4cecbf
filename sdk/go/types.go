package floe

// Types of columns that Go itself has none for. Plain ones are bool, int8 to int64, uint8 to uint64,
// float32, float64, string, []byte, [N]byte, structs, slices (lists) and pointers (values that may be null).
type (
	// Millis, Micros and Nanos are moments since 1970, UTC.
	Millis int64
	Micros int64
	Nanos  int64
	// Date is days since 1970-01-01.
	Date int32
	// TimeOfDay is microseconds since midnight.
	TimeOfDay int64
	// Decimal is a number times 10 to the power of its column's scale, 128 bits with a sign. Its field needs
	// a tag: `floe:"price,decimal(20,4)"`.
	Decimal struct {
		Low  uint64
		High int64
	}
)

// Ptr is a value that may be null and is not.
func Ptr[T any](value T) *T { return &value }
