/* Payments as the bytes of their JSON. */
#include "../../../../sdk/c/floe.h"
#include "totals.h"

struct record { floe_opt(floe_binary) value; };
FLOE_ROW(record_row, struct record, FLOE_OPT_NAMED(struct record, value, "_value"));

struct total { int64_t merchant, total; };
FLOE_ROW(total_row, struct total, FLOE_FIELD(struct total, merchant), FLOE_FIELD(struct total, total));

static void process(const void *row) {
  const struct record *record = row;
  int64_t merchant, amount;
  if (!record->value.has ||
      !payment(record->value.value.bytes, record->value.value.length, &merchant, &amount)) {
    floe_reject_row("no payment");
    return;
  }
  struct total total = {merchant, add(merchant, amount)};
  floe_emit_row(&total);
}

FLOE_OPERATOR(.name = "totals_raw", .version = "1.0.0", .state_version = 1, .input = &record_row,
              .outputs = {{"main", &total_row}}, .process = process);
