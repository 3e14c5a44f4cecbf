/* Running totals per merchant. The totals are the state. */
#include "../../../sdk/c/floe.h"

struct payment {
  floe_text txn_id, merchant_id;
  int64_t amount_minor;
  int32_t kafka_partition;
  int64_t kafka_offset;
};
FLOE_ROW(payment_row, struct payment, FLOE_FIELD(struct payment, txn_id), FLOE_FIELD(struct payment, merchant_id),
         FLOE_FIELD(struct payment, amount_minor), FLOE_FIELD(struct payment, kafka_partition),
         FLOE_FIELD(struct payment, kafka_offset));

struct total {
  floe_text txn_id, merchant_id;
  int64_t amount_minor, running_total;
  int32_t kafka_partition;
  int64_t kafka_offset;
};
FLOE_ROW(total_row, struct total, FLOE_FIELD(struct total, txn_id), FLOE_FIELD(struct total, merchant_id),
         FLOE_FIELD(struct total, amount_minor), FLOE_FIELD(struct total, running_total),
         FLOE_FIELD(struct total, kafka_partition), FLOE_FIELD(struct total, kafka_offset));

static struct floe_map totals; /* merchant → minor units */

static void process(const void *row) {
  const struct payment *in = row;
  int64_t total, *before = floe_map_at(&totals, in->merchant_id, NULL);
  if (__builtin_add_overflow(*before, in->amount_minor, &total)) {
    floe_reject_row("the merchant's total leaves 64 bits");
    return;
  }
  *before = total;
  struct total out = {in->txn_id, in->merchant_id, in->amount_minor, total, in->kafka_partition, in->kafka_offset};
  floe_emit_row(&out);
}

FLOE_OPERATOR(.name = "totals", .version = "1.0.0", .state_version = 1, .input = &payment_row,
              .outputs = {{"main", &total_row}}, .process = process);
