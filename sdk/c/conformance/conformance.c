/* The conformance operator in C: what it must do is written in sdk/abi/CONFORMANCE.md. */
#define FLOE_STATE
#include "../floe.h"

#include <time.h>

struct pair { int64_t a; floe_opt(floe_text) b; };
typedef floe_opt(int64_t) maybe_long;

struct row {
  floe_text command;
  int64_t offset;
  floe_opt(bool) boolean;
  floe_opt(int8_t) tiny;
  floe_opt(int16_t) small;
  floe_opt(int32_t) medium;
  floe_opt(int64_t) big;
  floe_opt(uint8_t) utiny;
  floe_opt(uint16_t) usmall;
  floe_opt(uint32_t) umedium;
  floe_opt(uint64_t) ubig;
  floe_opt(float) single;
  floe_opt(double) twice;
  floe_opt(floe_text) text;
  floe_opt(floe_binary) binary;
  struct { uint8_t value[4]; bool has; } fixed;
  floe_opt(floe_date) date;
  floe_opt(floe_time) time;
  floe_opt(floe_millis) millis;
  floe_opt(floe_micros) micros;
  floe_opt(floe_nanos) nanos;
  floe_opt(floe_decimal) decimal;
  floe_opt(floe_list) list;
  floe_opt(struct pair) pair;
  floe_opt(floe_list) pairs;
};

FLOE_ROW(pair_row, struct pair, FLOE_FIELD(struct pair, a), FLOE_OPT(struct pair, b));
FLOE_ROW(row_row, struct row, FLOE_NAMED(struct row, command, "do"), FLOE_NAMED(struct row, offset, "_offset"),
         FLOE_OPT(struct row, boolean), FLOE_OPT(struct row, tiny), FLOE_OPT(struct row, small),
         FLOE_OPT(struct row, medium), FLOE_OPT(struct row, big), FLOE_OPT(struct row, utiny),
         FLOE_OPT(struct row, usmall), FLOE_OPT(struct row, umedium), FLOE_OPT(struct row, ubig),
         FLOE_OPT(struct row, single), FLOE_OPT(struct row, twice), FLOE_OPT(struct row, text),
         FLOE_OPT(struct row, binary), FLOE_OPT_AS(struct row, fixed, "w:4"), FLOE_OPT(struct row, date),
         FLOE_OPT(struct row, time), FLOE_OPT(struct row, millis), FLOE_OPT(struct row, micros),
         FLOE_OPT(struct row, nanos), FLOE_OPT_AS(struct row, decimal, "d:20,4"),
         FLOE_OPT_LIST_OPT(struct row, list, maybe_long), FLOE_OPT_STRUCT(struct row, pair, pair_row),
         FLOE_OPT_LIST_STRUCT(struct row, pairs, struct pair, pair_row));

struct second { floe_text text; };
FLOE_ROW(second_row, struct second, FLOE_FIELD(struct second, text));

static floe_text greeting;
static struct floe_map counts;
static int64_t kept_bytes;
struct kept { struct kept *next; char bytes[]; };
static struct kept *volatile kept;

static void open(void) {
  floe_text why;
  floe_config_text("greeting", &greeting);
  if (floe_config_text("fail", &why)) floe_fail(why.bytes, (uint32_t)why.length);
}

static void set_text(struct row *row, const char *bytes, size_t length) {
  row->text.value = (floe_text){bytes, length};
  row->text.has = true;
}

static void set_big(struct row *row, int64_t number) {
  row->big.value = number;
  row->big.has = true;
}

static char *zero_ended(floe_text text) {
  char *copy = malloc(text.length + 1);
  memcpy(copy, text.bytes, text.length);
  copy[text.length] = 0;
  return copy;
}

static void emit_keys(struct row row) {
  struct floe_bytes all = {0};
  for (uint32_t i = 0; i < counts.count; i++) {
    floe_text key = floe_map_key(&counts, i);
    if (i) *floe_grow(&all, 1) = ',';
    memcpy(floe_grow(&all, key.length), key.bytes, key.length);
  }
  set_text(&row, (const char *)all.at, all.length);
  floe_emit_row(&row);
  free(all.at);
}

static void process(const void *input) {
  struct row row = *(const struct row *)input;
  floe_text command = row.command, text = row.text.has ? row.text.value : (floe_text){"", 0};
  if (floe_text_is(command, "echo")) {
    floe_emit_row(&row);
  } else if (floe_text_is(command, "many")) {
    for (int64_t i = 0; i < row.big.value; i++) floe_emit_row(&row);
  } else if (floe_text_is(command, "second")) {
    struct second second = {text};
    floe_emit_to(1, &second);
  } else if (floe_text_is(command, "reject")) {
    floe_emit_row(&row);
    char *reason = zero_ended(text);
    floe_reject_row(reason);
    free(reason);
  } else if (floe_text_is(command, "fail")) {
    floe_fail(text.bytes, (uint32_t)text.length);
  } else if (floe_text_is(command, "panic")) {
    __builtin_trap();
  } else if (floe_text_is(command, "log")) {
    floe_log((uint32_t)row.medium.value, text.bytes, (uint32_t)text.length);
  } else if (floe_text_is(command, "now")) {
    set_big(&row, floe_now());
    floe_emit_row(&row);
  } else if (floe_text_is(command, "clock")) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    set_big(&row, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
    floe_emit_row(&row);
  } else if (floe_text_is(command, "random")) {
    row.ubig.value = floe_random();
    row.ubig.has = true;
    floe_emit_row(&row);
  } else if (floe_text_is(command, "keep")) {
    set_big(&row, ++*floe_map_at(&counts, text, NULL));
    floe_emit_row(&row);
  } else if (floe_text_is(command, "keys")) {
    emit_keys(row);
  } else if (floe_text_is(command, "grow")) {
    struct kept *more = malloc(sizeof *more + (size_t)row.big.value);
    if (!more) floe_fail_with("out of memory");
    memset(more->bytes, 7, (size_t)row.big.value);
    more->next = kept;
    kept = more;
    kept_bytes += row.big.value;
    set_big(&row, kept_bytes);
    floe_emit_row(&row);
  } else if (floe_text_is(command, "spin")) {
    for (volatile int i = 0;; i++) {
    }
  } else if (floe_text_is(command, "config")) {
    set_text(&row, greeting.bytes, greeting.length);
    floe_emit_row(&row);
  } else {
    floe_reject_row("no such command");
  }
}

static void watermark(int64_t event_time_ms) {
  struct row row = {.command = floe_text_of("watermark")};
  set_big(&row, event_time_ms);
  floe_emit_row(&row);
}

static void export_state(struct floe_tell *tell) {
  floe_tell_object(tell);
  floe_tell_key(tell, "floe:by-key");
  floe_tell_list(tell);
  floe_tell_text(tell, floe_text_of("counts"));
  floe_tell_end(tell);
  floe_tell_key(tell, "counts");
  floe_tell_map(tell, &counts);
  floe_tell_end(tell);
}

static bool import_state(uint32_t version, floe_told told) {
  if (version != 7) return false;
  floe_told_map(floe_told_member(told, "counts"), &counts);
  return true;
}

FLOE_OPERATOR(.name = "conformance", .version = "1.0.0", .state_version = 7, .input = &row_row,
              .outputs = {{"main", &row_row}, {"second", &second_row}}, .open = open, .process = process,
              .watermark = watermark, .export_state = export_state, .import_state = import_state);
