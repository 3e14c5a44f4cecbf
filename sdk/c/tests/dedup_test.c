/* cc -std=gnu2x -o dedup_test dedup_test.c && ./dedup_test */
#include "../examples/dedup.c"
#include "../floe_test.h"

static struct click click(const char *id, int64_t amount, int64_t at_ms) {
  return (struct click){floe_text_of(id), amount, {at_ms}};
}

int main(void) {
  floe_test_open("{\"window_ms\": 1000}");
  struct click clicks[] = {click("a", 1, 0), click("a", 2, 1000), click("", 3, 0), click("b", 4, 10),
                           click("a", 5, 1001)};
  floe_test_process(clicks, 5);
  const struct first *rows = (const struct first *)floe_test.rows[0];
  FLOE_CHECK(floe_test.row_count[0] == 3);
  FLOE_CHECK(floe_text_is(rows[0].id, "a") && rows[0].amount == 1);
  FLOE_CHECK(floe_text_is(rows[1].id, "b") && rows[1].amount == 4);
  FLOE_CHECK(floe_text_is(rows[2].id, "a") && rows[2].amount == 5);
  FLOE_CHECK(floe_test.rejected_count == 1 && floe_test.rejected[0] == 2);
  FLOE_CHECK(strcmp(floe_test.reasons[0], "a click has no id") == 0);
  FLOE_CHECK(last_seen.count == 2);
  floe_watermark(1500);
  FLOE_CHECK(last_seen.count == 1);
  struct click later[] = {click("b", 6, 1011), click("b", 7, 1012)};
  floe_test_process(later, 2);
  FLOE_CHECK(floe_test.row_count[0] == 1);
  puts("1 passed, 0 failed");
}
