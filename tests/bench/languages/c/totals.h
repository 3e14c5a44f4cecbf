/* A running total for each merchant, for C and C++: as rust/src/lib.rs has it, step by step. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { SLOTS = 4096 };

/* Open addressing. Merchant 0 is an empty slot. */
static struct { int64_t merchant, total; } slots[SLOTS];

static inline int64_t add(int64_t merchant, int64_t amount) {
  size_t at = (size_t)(((uint64_t)merchant * 0x9e3779b97f4a7c15u) >> 52);
  for (;; at++) {
    int64_t *key = &slots[at % SLOTS].merchant, *total = &slots[at % SLOTS].total;
    if (*key == merchant) return *total += amount;
    if (*key == 0) {
      *key = merchant;
      return *total = amount;
    }
  }
}

/* Between its quotes, as it is written. */
static inline bool text(const uint8_t *json, size_t length, size_t *at, size_t *begin, size_t *end) {
  if (*at >= length || json[*at] != '"') return false;
  *begin = *end = *at + 1;
  for (;;) {
    if (*end >= length) return false;
    if (json[*end] == '"') break;
    *end += json[*end] == '\\' ? 2 : 1;
  }
  *at = *end + 1;
  return true;
}

static inline int64_t number(const uint8_t *json, size_t length, size_t *at) {
  bool negative = json[*at] == '-';
  *at += negative;
  uint64_t value = 0;
  while (*at < length && json[*at] >= '0' && json[*at] <= '9') value = value * 10 + (json[(*at)++] - '0');
  return negative ? -(int64_t)value : (int64_t)value;
}

static inline bool is_name(const uint8_t *json, size_t begin, size_t end, const char *name, size_t length) {
  return end - begin == length && memcmp(json + begin, name, length) == 0;
}

/* Merchant and amount of a payment as JSON: an object of texts, whole numbers and words. */
static inline bool payment(const uint8_t *json, size_t length, int64_t *merchant, int64_t *amount) {
  bool has_merchant = false, has_amount = false;
  size_t at = 1, begin, end, skipped, skipped_end;
  if (length == 0 || json[0] != '{') return false;
  for (;;) {
    if (!text(json, length, &at, &begin, &end)) return false;
    if (at >= length || json[at] != ':') return false;
    if (++at >= length) return false;
    if (json[at] == '"') {
      if (!text(json, length, &at, &skipped, &skipped_end)) return false;
    } else if (json[at] == '-' || (json[at] >= '0' && json[at] <= '9')) {
      int64_t value = number(json, length, &at);
      if (is_name(json, begin, end, "merchant", 8)) {
        *merchant = value;
        has_merchant = true;
      } else if (is_name(json, begin, end, "amount_minor", 12)) {
        *amount = value;
        has_amount = true;
      }
    } else {
      while (at < length && json[at] >= 'a' && json[at] <= 'z') at++;
    }
    if (at >= length) return false;
    if (json[at] == '}') return has_merchant && has_amount;
    if (json[at++] != ',') return false;
  }
}
