/* Payments as columns. */
#include "../../../../sdk/c/floe.h"
#include "totals.h"

struct payment { int64_t merchant, amount_minor; };
FLOE_ROW(payment_row, struct payment, FLOE_FIELD(struct payment, merchant), FLOE_FIELD(struct payment, amount_minor));

struct total { int64_t merchant, total; };
FLOE_ROW(total_row, struct total, FLOE_FIELD(struct total, merchant), FLOE_FIELD(struct total, total));

static void process(const void *row) {
  const struct payment *payment = row;
  struct total total = {payment->merchant, add(payment->merchant, payment->amount_minor)};
  floe_emit_row(&total);
}

FLOE_OPERATOR(.name = "totals_typed", .version = "1.0.0", .state_version = 1, .input = &payment_row,
              .outputs = {{"main", &total_row}}, .process = process);
