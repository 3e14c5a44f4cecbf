/* The state as JSON and back: every kind of value, and keys in an order of their own. */
#define FLOE_STATE
#include "../floe.h"
#include "../floe_test.h"

struct row { int64_t value; };
FLOE_ROW(row_row, struct row, FLOE_FIELD(struct row, value));

static struct floe_map counts;
static floe_text name;
static int64_t numbers[8];
static uint32_t number_count;
static double rate;
static bool is_open;

static void process(const void *row) { numbers[number_count++] = ((const struct row *)row)->value; }

static void export_state(struct floe_tell *tell) {
  floe_tell_object(tell);
  floe_tell_key(tell, "counts");
  floe_tell_map(tell, &counts);
  floe_tell_key(tell, "name");
  floe_tell_text(tell, name);
  floe_tell_key(tell, "numbers");
  floe_tell_list(tell);
  for (uint32_t i = 0; i < number_count; i++) floe_tell_long(tell, numbers[i]);
  floe_tell_end(tell);
  floe_tell_key(tell, "rate");
  floe_tell_double(tell, rate);
  floe_tell_key(tell, "open");
  floe_tell_bool(tell, is_open);
  floe_tell_end(tell);
}

static bool import_state(uint32_t version, floe_told told) {
  if (version != 3) return false;
  floe_told_map(floe_told_member(told, "counts"), &counts);
  name = floe_told_text(floe_told_member(told, "name"));
  struct floe_told_walk walk = floe_told_walk(floe_told_member(told, "numbers"));
  while (floe_told_next(&walk)) numbers[number_count++] = floe_told_long(walk.value);
  rate = floe_told_double(floe_told_member(told, "rate"));
  is_open = floe_told_bool(floe_told_member(told, "open"));
  FLOE_CHECK(!floe_told_member(told, "none").at);
  return true;
}

FLOE_OPERATOR(.name = "state", .version = "1.0.0", .state_version = 3, .input = &row_row,
              .outputs = {{"main", &row_row}}, .process = process, .export_state = export_state,
              .import_state = import_state);

int main(void) {
  floe_test_open("{}");
  *floe_map_at(&counts, floe_text_of("b"), NULL) = INT64_MIN;
  *floe_map_at(&counts, floe_text_of("a\"\n\xc3\xa9,}"), NULL) = 2;
  *floe_map_at(&counts, floe_text_of(""), NULL) = INT64_MAX;
  name = floe_text_of("x\\y\t]");
  rate = 0.1;
  is_open = true;
  struct row rows[2] = {{-7}, {0}};
  floe_test_process(rows, 2);
  const char *expected =
      "{\"counts\":{\"\":9223372036854775807,\"a\\\"\\u000a\xc3\xa9,}\":2,\"b\":-9223372036854775808},"
      "\"name\":\"x\\\\y\\u0009]\",\"numbers\":[-7,0],\"rate\":0.10000000000000001,\"open\":true}";
  const struct floe_state *told = floe_export_state();
  FLOE_CHECK(told->version == 3 && told->text_len == strlen(expected));
  FLOE_CHECK(memcmp(told->text, expected, told->text_len) == 0);

  /* Into variables as they are at the start, from text with spaces in it. */
  char spaced[512];
  size_t length = 0;
  for (const char *at = expected; *at; at++) {
    spaced[length++] = *at;
    if (strchr("{[:", *at) || (*at == ',' && at[1] != '}')) spaced[length++] = ' ';
  }
  memset(&counts, 0, sizeof counts);
  number_count = 0, rate = 0, is_open = false, name = floe_text_of("");
  struct floe_state state = {3, spaced, (uint32_t)length};
  FLOE_CHECK(floe_import_state(&state, 1) == 0);
  FLOE_CHECK(counts.count == 3 && *floe_map_at(&counts, floe_text_of("b"), NULL) == INT64_MIN);
  FLOE_CHECK(floe_text_is(name, "x\\y\t]"));
  told = floe_export_state();
  FLOE_CHECK(told->text_len == strlen(expected) && memcmp(told->text, expected, told->text_len) == 0);
  puts("1 passed, 0 failed");
}
