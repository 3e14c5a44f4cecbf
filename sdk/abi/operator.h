/* The operator ABI, version 1, for C and C++. ABI.md is the contract; the numbers below are its clauses.
 *
 *   clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry -o operator.wasm operator.c
 *
 * The structs are those of the Arrow C Data Interface. Their members are at the same places in every
 * 32-bit program, so nanoarrow's or Arrow's own header may be included before this one.
 */
#ifndef FLOE_OPERATOR_H
#define FLOE_OPERATOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define FLOE_ASSERT(condition, text) static_assert(condition, text)
#else
#define FLOE_ASSERT(condition, text) _Static_assert(condition, text)
#endif

#define FLOE_ABI_VERSION 1
#define FLOE_INPUT_ALIGN 64      /* A2: floe_v1_input */
#define FLOE_BATCH_ROWS_MAX 65536 /* A14 */
#define FLOE_OUTPUTS_MAX 16       /* A5 */
#define FLOE_TEXT_BYTES_MAX 65536 /* A5 */

#define FLOE_LOG_ERROR 0
#define FLOE_LOG_WARN 1
#define FLOE_LOG_INFO 2
#define FLOE_LOG_DEBUG 3

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema { /* A6 */
  const char *format;
  const char *name;
  const char *metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema **children;
  struct ArrowSchema *dictionary;
  void (*release)(struct ArrowSchema *);
  void *private_data;
};

struct ArrowArray { /* A11 */
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void **buffers;
  struct ArrowArray **children;
  struct ArrowArray *dictionary;
  void (*release)(struct ArrowArray *);
  void *private_data;
};

#endif /* ARROW_C_DATA_INTERFACE */

struct floe_output { /* A5 */
  const char *name;
  uint32_t name_len;
  const struct ArrowSchema *schema;
};

struct floe_description { /* A5 */
  const char *name;
  uint32_t name_len;
  const char *version;
  uint32_t version_len;
  uint32_t state_version;
  const struct ArrowSchema *input;
  uint32_t output_count;
  const struct floe_output *outputs;
};

struct floe_state { /* A24 */
  uint32_t version;
  const char *text; /* JSON, UTF-8 */
  uint32_t text_len;
};

#ifdef __wasm32__
FLOE_ASSERT(sizeof(struct floe_state) == 12, "A24");
FLOE_ASSERT(sizeof(struct ArrowSchema) == 48, "A6");
FLOE_ASSERT(offsetof(struct ArrowSchema, flags) == 16, "A6");
FLOE_ASSERT(offsetof(struct ArrowSchema, n_children) == 24, "A6");
FLOE_ASSERT(offsetof(struct ArrowSchema, children) == 32, "A6");
FLOE_ASSERT(offsetof(struct ArrowSchema, dictionary) == 36, "A6");
FLOE_ASSERT(offsetof(struct ArrowSchema, release) == 40, "A6");
FLOE_ASSERT(sizeof(struct ArrowArray) == 64, "A11");
FLOE_ASSERT(offsetof(struct ArrowArray, n_children) == 32, "A11");
FLOE_ASSERT(offsetof(struct ArrowArray, buffers) == 40, "A11");
FLOE_ASSERT(offsetof(struct ArrowArray, children) == 44, "A11");
FLOE_ASSERT(offsetof(struct ArrowArray, dictionary) == 48, "A11");
FLOE_ASSERT(offsetof(struct ArrowArray, release) == 52, "A11");
FLOE_ASSERT(offsetof(struct ArrowArray, private_data) == 56, "A11");
FLOE_ASSERT(sizeof(struct floe_output) == 12, "A5");
FLOE_ASSERT(sizeof(struct floe_description) == 32, "A5");
FLOE_ASSERT(offsetof(struct floe_description, outputs) == 28, "A5");

#define FLOE_IMPORT(name) __attribute__((import_module("floe_v1"), import_name(#name)))
#define FLOE_EXPORT(name) __attribute__((export_name("floe_v1_" #name)))
#else
/* Natively, for unit tests: the test provides the functions that are imports in WebAssembly. */
#define FLOE_IMPORT(name)
#define FLOE_EXPORT(name)
#endif

/* A4: what the host offers. All pointers are borrowed for the time of the call. */

/* Hands out rows of output number `output`; the host copies them and sets `array->release` to 0 (A15). */
FLOE_IMPORT(emit) void floe_emit(uint32_t output, struct ArrowArray *array);
/* This row of the batch is not taken; each at most once, during floe_process only (A18). */
FLOE_IMPORT(reject) void floe_reject(uint32_t row, const char *reason, uint32_t reason_len);
FLOE_IMPORT(log) void floe_log(uint32_t level, const char *text, uint32_t text_len);
/* The virtual time in ms: the greatest timestamp of a record of the task so far; 0 during floe_open. */
FLOE_IMPORT(now) int64_t floe_now(void);
/* 64 random bits that a replay draws again. */
FLOE_IMPORT(random) uint64_t floe_random(void);
/* Ends the call with this message; nothing of the call counts (A17). */
FLOE_IMPORT(fail) void floe_fail(const char *text, uint32_t text_len) __attribute__((noreturn));

/* A2: what an operator defines. State is its variables (A21); there is nothing to save or load. */

/* The same at every call (A9). */
FLOE_EXPORT(describe) const struct floe_description *floe_describe(void);
/* A region of at least `bytes` bytes, aligned to FLOE_INPUT_ALIGN, kept until the next call (A10). */
FLOE_EXPORT(input) void *floe_input(uint32_t bytes);
/* Once for a fresh instance, never after a restore. `config` is JSON without a zero at its end. */
FLOE_EXPORT(open) int32_t floe_open(const char *config, uint32_t config_len);
/* 0 when it succeeds (A3). */
FLOE_EXPORT(process) int32_t floe_process(const struct ArrowArray *batch);
/* Optional: no record before this event time (ms) will come any more. Define it to have it exported. */
#ifdef FLOE_HAS_WATERMARK
FLOE_EXPORT(watermark) int32_t floe_watermark(int64_t event_time_ms);
#endif
/* Optional: the state as JSON, and back, for `floe state` and for upgrades to other code (A24, A25). */
#ifdef FLOE_HAS_STATE
FLOE_EXPORT(export_state) const struct floe_state *floe_export_state(void);
FLOE_EXPORT(import_state) int32_t floe_import_state(const struct floe_state *states, uint32_t count);
#endif

#ifdef __cplusplus
}
#endif

#endif /* FLOE_OPERATOR_H */
