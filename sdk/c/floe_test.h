/* The host natively, for unit tests of an operator: include it in place of floe.h's module, compile with
 * any C compiler, and run.
 *
 *   #include "dedup.c"
 *   #include "floe_test.h"
 */
#ifndef FLOE_TEST_H
#define FLOE_TEST_H

#include <stdio.h>
#include <stdlib.h>

/* What came of the calls so far. Rows lie one behind the other, as structs of the output. */
static struct floe_test {
  int64_t now_ms;
  uint64_t seed;
  char *rows[FLOE_OUTPUTS_MAX];
  size_t row_count[FLOE_OUTPUTS_MAX];
  uint32_t rejected[1024];
  char reasons[1024][256];
  size_t rejected_count;
  char last_line[1024];
} floe_test;

static struct floe_arena floe_test_items;

void floe_emit(uint32_t output, struct ArrowArray *array) {
  const struct floe_row *row = floe_this.outputs[output].row;
  size_t before = floe_test.row_count[output], count = (size_t)array->length;
  floe_test.rows[output] = (char *)realloc(floe_test.rows[output], (before + count) * row->size);
  for (uint32_t i = 0; i < row->count; i++)
    floe_read_column(&row->fields[i], array->children[i], 0, count, floe_test.rows[output] + before * row->size,
                     row->size, &floe_test_items);
  floe_test.row_count[output] += count;
}

void floe_reject(uint32_t row, const char *reason, uint32_t reason_len) {
  floe_test.rejected[floe_test.rejected_count] = row;
  snprintf(floe_test.reasons[floe_test.rejected_count++], 256, "%.*s", (int)reason_len, reason);
}

void floe_log(uint32_t level, const char *text, uint32_t text_len) {
  snprintf(floe_test.last_line, sizeof floe_test.last_line, "%u %.*s", level, (int)text_len, text);
}

int64_t floe_now(void) { return floe_test.now_ms; }

/* splitmix64: other numbers than the host's, and repeatable like them. */
uint64_t floe_random(void) {
  uint64_t bits = floe_test.seed += 0x9e3779b97f4a7c15u;
  bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9u;
  bits = (bits ^ bits >> 27) * 0x94d049bb133111ebu;
  return bits ^ bits >> 31;
}

void floe_fail(const char *text, uint32_t text_len) {
  fprintf(stderr, "the operator failed: %.*s\n", (int)text_len, text);
  exit(1);
}

static void floe_test_open(const char *config) { floe_open(config, (uint32_t)strlen(config)); }

/* Gives the operator `count` rows, structs of its input, as one batch. What was emitted before is forgotten. */
static void floe_test_process(const void *rows, size_t count) {
  struct floe_field root = {"", "+s", FLOE_STRUCTS, 0, 0, FLOE_REQUIRED, floe_this.input};
  struct floe_column batch;
  floe_column_init(&batch, &root);
  for (size_t i = 0; i < count; i++)
    floe_append_nested(&batch, (const char *)rows + i * floe_this.input->size);
  memset(floe_test.row_count, 0, sizeof floe_test.row_count);
  floe_test.rejected_count = 0;
  floe_process(floe_seal(&batch));
}

#define FLOE_CHECK(condition)                                                                         \
  do {                                                                                                \
    if (!(condition)) {                                                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                 \
      exit(1);                                                                                        \
    }                                                                                                 \
  } while (0)

#endif /* FLOE_TEST_H */
