/* floe operators in C: rows are structs, state is variables, and one function takes a row and emits rows.
 * README.md has the chapters. Everything of the ABI is in operator.h; this header turns its columns into
 * rows and back. It is for one .c file of a module: it defines the module's exports.
 */
#ifndef FLOE_H
#define FLOE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOE_HAS_WATERMARK
#ifdef FLOE_STATE /* defined before this file is included: the operator tells its state (floe_state.h) */
#define FLOE_HAS_STATE
#endif
#include "../abi/operator.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Types that C itself has none for. ---- */

/* UTF-8, without a zero at its end. What a row holds lies in the input and is gone when `process` returns:
 * copy what you keep. */
typedef struct { const char *bytes; size_t length; } floe_text;
typedef struct { const uint8_t *bytes; size_t length; } floe_binary;
typedef struct { int32_t days; } floe_date;      /* since 1970-01-01 */
typedef struct { int64_t micros; } floe_time;    /* since midnight */
typedef struct { int64_t ms; } floe_millis;      /* since 1970, UTC */
typedef struct { int64_t micros; } floe_micros;  /* since 1970, UTC */
typedef struct { int64_t nanos; } floe_nanos;    /* since 1970, UTC */
/* A number times 10 to the power of the column's scale, as a signed integer of 128 bits. */
typedef struct { uint64_t low; int64_t high; } floe_decimal;
/* `items` points to `count` structs or values of the type that FLOE_LIST names. */
typedef struct { const void *items; size_t count; } floe_list;

/* A value that may be null: `floe_opt(int64_t) amount;` is used as `row.amount.has`, `row.amount.value`. */
#define floe_opt(type) struct { type value; bool has; }

static inline floe_text floe_text_of(const char *zero_ended) {
  floe_text text = {zero_ended, strlen(zero_ended)};
  return text;
}

static inline bool floe_text_equal(floe_text a, floe_text b) {
  return a.length == b.length && memcmp(a.bytes, b.bytes, a.length) == 0;
}

static inline bool floe_text_is(floe_text text, const char *zero_ended) {
  return floe_text_equal(text, floe_text_of(zero_ended));
}

/* ---- Rows: which member of a struct is which column. ---- */

enum floe_kind { FLOE_BOOL, FLOE_PLAIN, FLOE_BYTES, FLOE_LISTS, FLOE_STRUCTS };

struct floe_row;

struct floe_field {
  const char *name;
  const char *format; /* of the Arrow C Data Interface (A7) */
  enum floe_kind kind;
  uint32_t width;      /* of a plain value */
  uint32_t offset;     /* of the value in the row */
  uint32_t has_offset; /* of its flag, or FLOE_REQUIRED */
  const struct floe_row *row; /* of a struct; of a list its item, as the only field */
};

struct floe_row {
  const struct floe_field *fields;
  uint32_t count;
  uint32_t size;
};

#define FLOE_REQUIRED UINT32_MAX

#ifndef __cplusplus
#define FLOE_FORMAT(value)                                                                            \
  _Generic((value), bool: "b", int8_t: "c", int16_t: "s", int32_t: "i", int64_t: "l", uint8_t: "C",    \
      uint16_t: "S", uint32_t: "I", uint64_t: "L", float: "f", double: "g", floe_text: "u",            \
      floe_binary: "z", floe_date: "tdD", floe_time: "ttu", floe_millis: "tsm:UTC",                    \
      floe_micros: "tsu:UTC", floe_nanos: "tsn:UTC")
#define FLOE_KIND(value)                                                                              \
  _Generic((value), bool: FLOE_BOOL, floe_text: FLOE_BYTES, floe_binary: FLOE_BYTES, default: FLOE_PLAIN)

/* FLOE_ROW(click_row, struct click, FLOE_FIELD(struct click, id), …); names the columns of a struct. */
#define FLOE_ROW(row, type, ...)                                                                      \
  static const struct floe_field row##_fields[] = {__VA_ARGS__};                                      \
  static const struct floe_row row = {row##_fields, sizeof row##_fields / sizeof row##_fields[0],     \
                                      sizeof(type)}

#define FLOE_VALUE(type, path, column, has)                                                           \
  {column, FLOE_FORMAT(((type *)0)->path), FLOE_KIND(((type *)0)->path),                              \
   sizeof(((type *)0)->path), offsetof(type, path), has, 0}
/* A member that is a column of its own name, or of another. */
#define FLOE_FIELD(type, member) FLOE_VALUE(type, member, #member, FLOE_REQUIRED)
#define FLOE_NAMED(type, member, column) FLOE_VALUE(type, member, column, FLOE_REQUIRED)
/* A member declared with floe_opt(…). */
#define FLOE_OPT(type, member) FLOE_VALUE(type, member.value, #member, offsetof(type, member.has))
#define FLOE_OPT_NAMED(type, member, column) FLOE_VALUE(type, member.value, column, offsetof(type, member.has))
/* A floe_decimal with its format, "d:20,4"; a uint8_t[N] with "w:N". */
#define FLOE_AS(type, member, format)                                                                 \
  {#member, format, FLOE_PLAIN, sizeof(((type *)0)->member), offsetof(type, member), FLOE_REQUIRED, 0}
#define FLOE_OPT_AS(type, member, format)                                                             \
  {#member, format, FLOE_PLAIN, sizeof(((type *)0)->member.value), offsetof(type, member.value),      \
   offsetof(type, member.has), 0}
/* A struct within a row, and lists: of values, of values that may be null, of structs. */
#define FLOE_STRUCT(type, member, row)                                                                \
  {#member, "+s", FLOE_STRUCTS, 0, offsetof(type, member), FLOE_REQUIRED, &row}
#define FLOE_OPT_STRUCT(type, member, row)                                                            \
  {#member, "+s", FLOE_STRUCTS, 0, offsetof(type, member.value), offsetof(type, member.has), &row}
#define FLOE_LIST_PARTS(type, path, column, has, item_type, ...)                                      \
  {column, "+l", FLOE_LISTS, 0, offsetof(type, path), has,                                            \
   &(const struct floe_row){(const struct floe_field[]){__VA_ARGS__}, 1, sizeof(item_type)}}
#define FLOE_ITEM(item) {"item", FLOE_FORMAT((item){0}), FLOE_KIND((item){0}), sizeof(item), 0, FLOE_REQUIRED, 0}
#define FLOE_ITEM_OPT(item)                                                                           \
  {"item", FLOE_FORMAT(((item *)0)->value), FLOE_KIND(((item *)0)->value), sizeof(((item *)0)->value), \
   offsetof(item, value), offsetof(item, has), 0}
#define FLOE_ITEM_STRUCT(row) {"item", "+s", FLOE_STRUCTS, 0, 0, FLOE_REQUIRED, &row}
#define FLOE_LIST(type, member, item) FLOE_LIST_PARTS(type, member, #member, FLOE_REQUIRED, item, FLOE_ITEM(item))
#define FLOE_OPT_LIST(type, member, item)                                                             \
  FLOE_LIST_PARTS(type, member.value, #member, offsetof(type, member.has), item, FLOE_ITEM(item))
#define FLOE_OPT_LIST_OPT(type, member, item)                                                         \
  FLOE_LIST_PARTS(type, member.value, #member, offsetof(type, member.has), item, FLOE_ITEM_OPT(item))
#define FLOE_OPT_LIST_STRUCT(type, member, item, row)                                                 \
  FLOE_LIST_PARTS(type, member.value, #member, offsetof(type, member.has), item, FLOE_ITEM_STRUCT(row))
#define FLOE_LIST_STRUCT(type, member, item, row)                                                     \
  FLOE_LIST_PARTS(type, member, #member, FLOE_REQUIRED, item, FLOE_ITEM_STRUCT(row))
#endif

/* ---- The operator. ---- */

#ifdef FLOE_STATE
struct floe_tell;                                    /* JSON that is written */
typedef struct { const char *at, *end; } floe_told; /* a value of JSON that is read */
#endif

struct floe_output_row {
  const char *name;
  const struct floe_row *row;
};

struct floe_operator {
  const char *name;
  const char *version;
  uint32_t state_version; /* 1 and up: another one when the variables mean something else */
  const struct floe_row *input;
  struct floe_output_row outputs[FLOE_OUTPUTS_MAX];
  void (*open)(void);                      /* optional; reads the configuration */
  void (*process)(const void *row);        /* takes one row */
  void (*watermark)(int64_t event_time_ms); /* optional; no record before it will come any more */
#ifdef FLOE_STATE
  void (*export_state)(struct floe_tell *tell); /* tells the state as JSON (floe_state.h) */
  bool (*import_state)(uint32_t version, floe_told told); /* takes it; false: a version that is not known */
#endif
};

/* FLOE_OPERATOR(.name = "dedup", .version = "1.0.0", .state_version = 1, .input = &click_row,
 *               .outputs = {{"main", &click_row}}, .process = process); stands once in a module. */
#define FLOE_OPERATOR(...) const struct floe_operator floe_this = {__VA_ARGS__}
#ifdef FLOE_MADE_AT_START /* by an interpreter, before _initialize returns */
extern struct floe_operator floe_this;
#else
extern const struct floe_operator floe_this;
#endif

/* Emits a row to output 0, or to any. What it points to is copied. */
static void floe_emit_to(uint32_t output, const void *row);
static inline void floe_emit_row(const void *row) { floe_emit_to(0, row); }
/* The row that is processed is not taken; what was emitted for it is taken back. The first reason counts. */
static void floe_reject_row(const char *reason);
static void floe_reject_rowf(const char *format, ...) __attribute__((format(printf, 1, 2), unused));
/* Ends the call: the pipeline stops with this message. */
static inline void floe_fail_with(const char *text) __attribute__((noreturn));
static inline void floe_fail_with(const char *text) { floe_fail(text, (uint32_t)strlen(text)); }
static inline void floe_log_line(uint32_t level, const char *text) {
  size_t length = strlen(text);
  floe_log(level, text, (uint32_t)(length < FLOE_TEXT_BYTES_MAX ? length : FLOE_TEXT_BYTES_MAX));
}

/* The configuration, in `open` only: a key that nobody asks for is refused. */
static bool floe_config_text(const char *key, floe_text *value) __attribute__((unused));
static int64_t floe_config_long(const char *key, int64_t otherwise) __attribute__((unused));
static bool floe_config_bool(const char *key, bool otherwise) __attribute__((unused));

#include "floe_impl.h"
#include "floe_map.h"
#ifdef FLOE_STATE
#include "floe_state.h"
#endif

#ifdef __cplusplus
}
#endif

#endif /* FLOE_H */
