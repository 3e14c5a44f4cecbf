// c++ -std=c++20 -o dedup_test dedup_test.cpp && ./dedup_test
#include "../examples/dedup.cpp"

#include "../../c/floe_test.h"

int main() {
  floe_test_open(R"({"window_ms": 1000})");
  const Click clicks[] = {
      {"a", 1, {0}}, {"a", 2, {1000}}, {"", 3, {0}}, {"b", 4, {10}}, {"a", 5, {1001}},
  };
  floe_test_process(clicks, 5);
  const auto *rows = reinterpret_cast<const First *>(floe_test.rows[0]);
  FLOE_CHECK(floe_test.row_count[0] == 3);
  FLOE_CHECK(rows[0].id == "a" && rows[0].amount == 1);
  FLOE_CHECK(rows[1].id == "b" && rows[1].amount == 4);
  FLOE_CHECK(rows[2].id == "a" && rows[2].amount == 5);
  FLOE_CHECK(floe_test.rejected_count == 1 && floe_test.rejected[0] == 2);
  FLOE_CHECK(std::string_view(floe_test.reasons[0]) == "a click has no id");
  const auto &last_seen = floe::detail::running<Dedup>::instance->last_seen;
  FLOE_CHECK(last_seen.size() == 2);
  floe_watermark(1500);
  FLOE_CHECK(last_seen.size() == 1);
  const Click later[] = {{"b", 6, {1011}}, {"b", 7, {1012}}};
  floe_test_process(later, 2);
  FLOE_CHECK(floe_test.row_count[0] == 1);
  std::puts("1 passed, 0 failed");
}
