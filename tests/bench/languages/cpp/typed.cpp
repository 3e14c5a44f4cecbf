// Payments as columns.
#include "../../../../sdk/cpp/floe.hpp"
#include "../c/totals.h"

struct Payment {
  std::int64_t merchant;
  std::int64_t amount_minor;
};
FLOE_ROW(Payment, FLOE_COLUMN(merchant), FLOE_COLUMN(amount_minor));

struct Total {
  std::int64_t merchant;
  std::int64_t total;
};
FLOE_ROW(Total, FLOE_COLUMN(merchant), FLOE_COLUMN(total));

struct Typed {
  using Input = Payment;
  using Outputs = floe::outputs<Total>;

  void process(const Payment &it, const Outputs &out) {
    out.emit({it.merchant, add(it.merchant, it.amount_minor)});
  }
};
FLOE_OPERATOR(Typed, .name = "totals_typed", .version = "1.0.0");
