/* Every type through the columns and back, with nulls and rows that are taken back. */
#include "../conformance/conformance.c"
#include "../floe_test.h"

static struct row full(const char *text) {
  static struct pair pairs[2] = {{.a = 1}, {.a = 2}};
  static maybe_long longs[3] = {{1, true}, {0, false}, {INT64_MAX, true}};
  pairs[0].b.value = floe_text_of("b"), pairs[0].b.has = true;
  struct row row = {.command = floe_text_of("echo"), .offset = 9};
  row.boolean.value = row.boolean.has = true;
  row.tiny.value = -128, row.tiny.has = true;
  set_big(&row, INT64_MIN);
  set_text(&row, text, strlen(text));
  memcpy(row.fixed.value, "abcd", 4), row.fixed.has = true;
  row.decimal.value = (floe_decimal){5, -1}, row.decimal.has = true;
  row.list.value = (floe_list){longs, 3}, row.list.has = true;
  row.pair.value = pairs[0], row.pair.has = true;
  row.pairs.value = (floe_list){pairs, 2}, row.pairs.has = true;
  return row;
}

static void check_full(const struct row *row, const char *text) {
  FLOE_CHECK(row->offset == 9 && row->boolean.has && row->boolean.value);
  FLOE_CHECK(row->tiny.has && row->tiny.value == -128 && !row->small.has);
  FLOE_CHECK(row->big.value == INT64_MIN && floe_text_is(row->text.value, text));
  FLOE_CHECK(row->fixed.has && memcmp(row->fixed.value, "abcd", 4) == 0);
  FLOE_CHECK(row->decimal.value.low == 5 && row->decimal.value.high == -1);
  const maybe_long *longs = row->list.value.items;
  FLOE_CHECK(row->list.value.count == 3 && longs[0].value == 1 && !longs[1].has && longs[2].value == INT64_MAX);
  FLOE_CHECK(row->pair.value.a == 1 && floe_text_is(row->pair.value.b.value, "b"));
  const struct pair *pairs = row->pairs.value.items;
  FLOE_CHECK(row->pairs.value.count == 2 && pairs[1].a == 2 && !pairs[1].b.has);
}

int main(void) {
  floe_test_open("{\"greeting\": \"h\\u00e9 \\ud83d\\ude00\\n\"}");
  FLOE_CHECK(floe_text_is(greeting, "h\xc3\xa9 \xf0\x9f\x98\x80\n"));
  struct row rows[600];
  for (size_t i = 0; i < 600; i++) {
    rows[i] = i % 3 ? full(i % 2 ? "odd" : "") : (struct row){.command = floe_text_of("echo")};
    if (i % 7 == 6) rows[i].command = floe_text_of("reject");
  }
  floe_test_process(rows, 600);
  FLOE_CHECK(floe_test.rejected_count == 85 && floe_test.row_count[0] == 515);
  const struct row *found = (const struct row *)floe_test.rows[0];
  for (size_t i = 0; i < 600; i++) {
    if (i % 7 == 6) continue;
    if (i % 3) check_full(found, i % 2 ? "odd" : "");
    else FLOE_CHECK(!found->big.has && !found->pair.has && !found->list.has && !found->boolean.has);
    found++;
  }
  puts("1 passed, 0 failed");
}
