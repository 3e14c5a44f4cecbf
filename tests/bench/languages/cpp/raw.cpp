// Payments as the bytes of their JSON.
#include "../../../../sdk/cpp/floe.hpp"
#include "../c/totals.h"

struct Record {
  floe::opt<floe::binary> value;
};
FLOE_ROW(Record, FLOE_NAMED(value, "_value"));

struct Total {
  std::int64_t merchant;
  std::int64_t total;
};
FLOE_ROW(Total, FLOE_COLUMN(merchant), FLOE_COLUMN(total));

struct Raw {
  using Input = Record;
  using Outputs = floe::outputs<Total>;

  void process(const Record &record, const Outputs &out) {
    std::int64_t merchant, amount;
    if (!record.value || !payment(record.value->bytes, record.value->length, &merchant, &amount)) {
      return floe::reject("no payment");
    }
    out.emit({merchant, add(merchant, amount)});
  }
};
FLOE_OPERATOR(Raw, .name = "totals_raw", .version = "1.0.0");
