/* The state for other code (A24, A25): told as JSON and taken back. `#define FLOE_STATE` before floe.h includes
 * this file and has it exported; README.md, State, says how an operator uses it. */
#ifndef FLOE_STATE_H
#define FLOE_STATE_H

/* ---- Telling: JSON that is written. ---- */

struct floe_tell { struct floe_bytes bytes; bool has_before; char closers[64]; uint32_t depth; };

static void floe_tell_raw(struct floe_tell *tell, const char *text, size_t length) {
  if (length) memcpy(floe_grow(&tell->bytes, length), text, length);
}

/* A value begins; after a key or a bracket there is no comma. */
static void floe_tell_begin(struct floe_tell *tell) {
  if (tell->has_before) floe_tell_raw(tell, ",", 1);
  tell->has_before = true;
}

static void floe_tell_open(struct floe_tell *tell, const char *bracket, char closer) {
  floe_tell_begin(tell);
  if (tell->depth == sizeof tell->closers) floe_fail_with("the state nests deeper than 64");
  tell->closers[tell->depth++] = closer;
  tell->has_before = false;
  floe_tell_raw(tell, bracket, 1);
}

/* Until its `floe_tell_end`, values of an object stand behind a key each. */
static inline void floe_tell_object(struct floe_tell *tell) { floe_tell_open(tell, "{", '}'); }
static inline void floe_tell_list(struct floe_tell *tell) { floe_tell_open(tell, "[", ']'); }

static void floe_tell_end(struct floe_tell *tell) {
  if (!tell->depth) floe_fail_with("floe_tell_end without a begin");
  floe_tell_raw(tell, &tell->closers[--tell->depth], 1);
  tell->has_before = true;
}

static void floe_tell_text(struct floe_tell *tell, floe_text text) {
  floe_tell_begin(tell);
  floe_tell_raw(tell, "\"", 1);
  for (size_t i = 0; i < text.length; i++) {
    unsigned char letter = (unsigned char)text.bytes[i];
    if (letter == '"' || letter == '\\') floe_tell_raw(tell, "\\", 1);
    if (letter >= ' ') {
      floe_tell_raw(tell, &text.bytes[i], 1);
    } else {
      char escape[6] = {'\\', 'u', '0', '0', letter < 16 ? '0' : '1', "0123456789abcdef"[letter % 16]};
      floe_tell_raw(tell, escape, sizeof escape);
    }
  }
  floe_tell_raw(tell, "\"", 1);
}

static void floe_tell_key_text(struct floe_tell *tell, floe_text key) {
  floe_tell_text(tell, key);
  floe_tell_raw(tell, ":", 1);
  tell->has_before = false;
}
static inline void floe_tell_key(struct floe_tell *tell, const char *key) { floe_tell_key_text(tell, floe_text_of(key)); }

static void floe_tell_long(struct floe_tell *tell, int64_t value) {
  char digits[20];
  size_t at = sizeof digits;
  uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
  do digits[--at] = (char)('0' + rest % 10);
  while (rest /= 10);
  if (value < 0) digits[--at] = '-';
  floe_tell_begin(tell);
  floe_tell_raw(tell, digits + at, sizeof digits - at);
}

static void floe_tell_double(struct floe_tell *tell, double value) __attribute__((unused));
static void floe_tell_double(struct floe_tell *tell, double value) {
  char digits[32];
  int length = snprintf(digits, sizeof digits, "%.17g", value);
  if (value - value != 0) floe_fail_with("a state with a number that JSON has not");
  floe_tell_begin(tell);
  floe_tell_raw(tell, digits, (size_t)length);
}

static inline void floe_tell_bool(struct floe_tell *tell, bool value) {
  floe_tell_begin(tell);
  floe_tell_raw(tell, value ? "true" : "false", value ? 4 : 5);
}

/* ---- Told: JSON that is read where it lies, in `import_state` only. ---- */

/* A floe_told is one value; what follows it is another's. `at` is 0 where there is none. */

static void floe_told_wrong(const char *expected) __attribute__((noreturn));
static void floe_told_wrong(const char *expected) {
  char text[128] = "the state is not what this operator told: it has no ";
  strncat(text, expected, 64);
  floe_fail_with(text);
}

/* Behind the value. */
static const char *floe_told_skip(floe_told told) {
  const char *at = told.at;
  int depth = 0;
  bool is_text = false;
  for (; at < told.end; at++) {
    if (is_text) {
      if (*at == '\\') at++;
      else if (*at == '"') is_text = false;
    } else if (*at == '"') {
      is_text = true;
    } else if (*at == '{' || *at == '[') {
      depth++;
    } else if (*at == '}' || *at == ']') {
      if (depth-- == 0) break;
    } else if (depth == 0 && (*at == ',' || *at == ':')) {
      break;
    }
  }
  return at < told.end ? at : told.end;
}

/* `floe_told_walk(told)`, then `while (floe_told_next(&walk))`: of an object `walk.key`, of both `walk.value`.
 * The key is copied, with malloc, and yours. */
struct floe_told_walk { const char *at, *end; bool is_object; floe_text key; floe_told value; };

static struct floe_told_walk floe_told_walk(floe_told told) {
  if (!told.at || told.at >= told.end || (*told.at != '{' && *told.at != '[')) floe_told_wrong("object or list");
  struct floe_told_walk walk = {floe_json_space(told.at + 1, told.end), told.end, *told.at == '{', {0, 0}, {0, 0}};
  return walk;
}

static bool floe_told_next(struct floe_told_walk *walk) {
  if (walk->at >= walk->end) floe_told_wrong("end");
  if (*walk->at == '}' || *walk->at == ']') return false;
  if (walk->is_object) {
    if (*walk->at != '"') floe_told_wrong("key");
    walk->at = floe_json_space(floe_json_text(walk->at + 1, walk->end, &walk->key), walk->end);
    if (walk->at >= walk->end || *walk->at != ':') floe_told_wrong("colon");
    walk->at = floe_json_space(walk->at + 1, walk->end);
  }
  walk->value.at = walk->at;
  walk->value.end = walk->end;
  walk->at = floe_json_space(floe_told_skip(walk->value), walk->end);
  if (walk->at < walk->end && *walk->at == ',') walk->at = floe_json_space(walk->at + 1, walk->end);
  return true;
}

/* An object's value of this key; `.at` is 0 where it has none. */
static floe_told floe_told_member(floe_told told, const char *key) __attribute__((unused));
static floe_told floe_told_member(floe_told told, const char *key) {
  struct floe_told_walk walk = floe_told_walk(told);
  while (floe_told_next(&walk)) {
    bool is_it = floe_text_is(walk.key, key);
    free((void *)walk.key.bytes);
    if (is_it) return walk.value;
  }
  floe_told none = {0, 0};
  return none;
}

static int64_t floe_told_long(floe_told told) {
  bool negative = told.at && told.at < told.end && *told.at == '-';
  const char *at = told.at ? told.at + negative : told.end, *first = at;
  uint64_t value = 0;
  for (; at < told.end && *at >= '0' && *at <= '9'; at++) value = value * 10 + (uint64_t)(*at - '0');
  if (at == first || at != floe_told_skip(told)) floe_told_wrong("whole number");
  return (int64_t)(negative ? 0 - value : value);
}

static double floe_told_double(floe_told told) __attribute__((unused));
static double floe_told_double(floe_told told) {
  char digits[40] = "";
  size_t length = told.at ? (size_t)(floe_told_skip(told) - told.at) : 0;
  if (!length || length >= sizeof digits) floe_told_wrong("number");
  memcpy(digits, told.at, length);
  char *end;
  double value = strtod(digits, &end);
  if (*end) floe_told_wrong("number");
  return value;
}

static inline bool floe_told_bool(floe_told told) {
  if (!told.at || told.at >= told.end || (*told.at != 't' && *told.at != 'f')) floe_told_wrong("true or false");
  return *told.at == 't';
}

/* It is copied, with malloc, and yours. */
static floe_text floe_told_text(floe_told told) __attribute__((unused));
static floe_text floe_told_text(floe_told told) {
  floe_text text;
  if (!told.at || told.at >= told.end || *told.at != '"') floe_told_wrong("text");
  floe_json_text(told.at + 1, floe_told_skip(told), &text);
  return text;
}

/* ---- A map: an object of whole numbers. ---- */

static const struct floe_map *floe_map_sorted;

static int floe_map_compare(const void *a, const void *b) {
  floe_text left = floe_map_key(floe_map_sorted, *(const uint32_t *)a);
  floe_text right = floe_map_key(floe_map_sorted, *(const uint32_t *)b);
  size_t both = left.length < right.length ? left.length : right.length;
  int order = both ? memcmp(left.bytes, right.bytes, both) : 0;
  return order ? order : (left.length > right.length) - (left.length < right.length);
}

/* In the order of the keys: equal maps are told alike. */
static void floe_tell_map(struct floe_tell *tell, const struct floe_map *map) __attribute__((unused));
static void floe_tell_map(struct floe_tell *tell, const struct floe_map *map) {
  uint32_t *order = (uint32_t *)floe_allocate(map->count * sizeof *order);
  for (uint32_t i = 0; i < map->count; i++) order[i] = i;
  floe_map_sorted = map;
  qsort(order, map->count, sizeof *order, floe_map_compare);
  floe_tell_object(tell);
  for (uint32_t i = 0; i < map->count; i++) {
    floe_tell_key_text(tell, floe_map_key(map, order[i]));
    floe_tell_long(tell, map->entries[order[i]].value);
  }
  floe_tell_end(tell);
  free(order);
}

static void floe_told_map(floe_told told, struct floe_map *map) __attribute__((unused));
static void floe_told_map(floe_told told, struct floe_map *map) {
  struct floe_told_walk walk = floe_told_walk(told);
  while (floe_told_next(&walk)) {
    *floe_map_at(map, walk.key, NULL) = floe_told_long(walk.value);
    free((void *)walk.key.bytes);
  }
}

/* ---- The exports. ---- */

const struct floe_state *floe_export_state(void) {
  static struct floe_state state;
  struct floe_tell tell = {{0, 0, 0}, false, {0}, 0};
  if (!floe_this.export_state) floe_fail_with("this operator has no export_state");
  floe_this.export_state(&tell);
  if (tell.depth) floe_fail_with("a floe_tell_end is missing");
  state.version = floe_this.state_version;
  state.text = (const char *)tell.bytes.at;
  state.text_len = (uint32_t)tell.bytes.length;
  return &state;
}

int32_t floe_import_state(const struct floe_state *states, uint32_t count) {
  if (!floe_this.import_state) floe_fail_with("this operator has no import_state");
  if (count != 1) floe_fail_with("several states cannot be merged by this operator");
  const char *end = states->text + states->text_len;
  floe_told told = {floe_json_space(states->text, end), end};
  if (!floe_this.import_state(states->version, told))
    floe_fail_with("the state is of a version that this operator does not know");
  return 0;
}

#endif /* FLOE_STATE_H */
