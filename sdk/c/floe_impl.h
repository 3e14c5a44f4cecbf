/* What floe.h promises: columns to rows, rows to columns, the configuration, the exports. */
#ifndef FLOE_IMPL_H
#define FLOE_IMPL_H

/* ---- Memory that only grows. ---- */

struct floe_bytes { uint8_t *at; size_t length, capacity; };

static void *floe_allocate(size_t bytes) {
  void *at = malloc(bytes ? bytes : 1);
  if (!at) floe_fail_with("out of memory (limits.memory)");
  return at;
}

static void floe_reserve_slow(struct floe_bytes *bytes, size_t more) {
  size_t capacity = bytes->capacity ? bytes->capacity * 2 : 1024;
  while (capacity < bytes->length + more) capacity *= 2;
  uint8_t *at = (uint8_t *)realloc(bytes->at, capacity);
  if (!at) floe_fail_with("out of memory (limits.memory)");
  bytes->at = at;
  bytes->capacity = capacity;
}

static inline uint8_t *floe_grow(struct floe_bytes *bytes, size_t more) {
  if (!bytes->at || bytes->capacity - bytes->length < more) floe_reserve_slow(bytes, more);
  uint8_t *at = bytes->at + bytes->length;
  bytes->length += more;
  return at;
}

/* A compiler drops a memset whose memory nobody reads again; this one stays. */
static void floe_zero(void *at, size_t bytes) {
  memset(at, 0, bytes);
  __asm__ volatile("" : : "r"(at) : "memory");
}

static inline bool floe_bit(const uint8_t *bits, size_t at) { return bits[at / 8] >> (at % 8) & 1; }

/* ---- Columns to rows. ---- */

/* Items of the lists of one chunk; given back when the next chunk is read. */
struct floe_arena { void **pieces; size_t count, capacity; };

static void *floe_arena_take(struct floe_arena *arena, size_t bytes) {
  if (arena->count == arena->capacity) {
    arena->capacity = arena->capacity ? arena->capacity * 2 : 8;
    arena->pieces = (void **)realloc(arena->pieces, arena->capacity * sizeof(void *));
    if (!arena->pieces) floe_fail_with("out of memory (limits.memory)");
  }
  return arena->pieces[arena->count++] = floe_allocate(bytes);
}

static void floe_arena_clear(struct floe_arena *arena) {
  while (arena->count) free(arena->pieces[--arena->count]);
}

#define FLOE_READ_PLAIN(type)                                                                         \
  for (size_t i = 0; i < count; i++) {                                                                \
    type value;                                                                                       \
    memcpy(&value, data + (first + i) * sizeof(type), sizeof(type));                                  \
    memcpy(to + i * stride, &value, sizeof(type));                                                    \
  }

static void floe_read_column(const struct floe_field *field, const struct ArrowArray *array, size_t first,
                             size_t count, char *rows, size_t stride, struct floe_arena *arena) {
  char *to = rows + field->offset;
  first += (size_t)array->offset;
  const uint8_t *validity = array->null_count ? (const uint8_t *)array->buffers[0] : NULL;
  if (field->has_offset != FLOE_REQUIRED)
    for (size_t i = 0; i < count; i++)
      *(bool *)(rows + field->has_offset + i * stride) = !validity || floe_bit(validity, first + i);
  switch (field->kind) {
    case FLOE_BOOL: {
      const uint8_t *bits = (const uint8_t *)array->buffers[1];
      for (size_t i = 0; i < count; i++) *(bool *)(to + i * stride) = floe_bit(bits, first + i);
      break;
    }
    case FLOE_PLAIN: {
      const char *data = (const char *)array->buffers[1];
      switch (field->width) {
        case 1: FLOE_READ_PLAIN(uint8_t) break;
        case 2: FLOE_READ_PLAIN(uint16_t) break;
        case 4: FLOE_READ_PLAIN(uint32_t) break;
        case 8: FLOE_READ_PLAIN(uint64_t) break;
        default:
          for (size_t i = 0; i < count; i++)
            memcpy(to + i * stride, data + (first + i) * field->width, field->width);
      }
      break;
    }
    case FLOE_BYTES: {
      const int32_t *ends = (const int32_t *)array->buffers[1];
      const char *data = array->buffers[2] ? (const char *)array->buffers[2] : "";
      for (size_t i = 0; i < count; i++) {
        floe_text text = {data + ends[first + i], (size_t)(ends[first + i + 1] - ends[first + i])};
        memcpy(to + i * stride, &text, sizeof text);
      }
      break;
    }
    case FLOE_STRUCTS:
      for (uint32_t child = 0; child < field->row->count; child++)
        floe_read_column(&field->row->fields[child], array->children[child], first, count, to, stride, arena);
      break;
    case FLOE_LISTS: {
      const int32_t *ends = (const int32_t *)array->buffers[1];
      size_t begin = (size_t)ends[first], items = (size_t)ends[first + count] - begin;
      size_t size = field->row->size;
      char *all = (char *)floe_arena_take(arena, items * size);
      floe_read_column(field->row->fields, array->children[0], begin, items, all, size, arena);
      for (size_t i = 0; i < count; i++) {
        floe_list list = {all + ((size_t)ends[first + i] - begin) * size,
                          (size_t)(ends[first + i + 1] - ends[first + i])};
        memcpy(to + i * stride, &list, sizeof list);
      }
      break;
    }
  }
}

/* ---- Rows to columns. ---- */

struct floe_column {
  const struct floe_field *field;
  size_t length, null_count;
  /* A bit a row, written from the first null on. Offsets begin with a zero. */
  struct floe_bytes validity, offsets, data;
  struct floe_column *children;
  uint32_t child_count;
  struct ArrowArray array;
  const void *buffers[3];
  struct ArrowArray **child_arrays;
};

static void floe_column_init(struct floe_column *column, const struct floe_field *field) {
  memset(column, 0, sizeof *column);
  column->field = field;
  if (field->kind == FLOE_BYTES || field->kind == FLOE_LISTS) memset(floe_grow(&column->offsets, 4), 0, 4);
  column->child_count = field->row ? field->row->count : 0;
  if (!column->child_count) return;
  column->children = (struct floe_column *)floe_allocate(column->child_count * sizeof *column->children);
  column->child_arrays = (struct ArrowArray **)floe_allocate(column->child_count * sizeof(void *));
  for (uint32_t i = 0; i < column->child_count; i++) {
    floe_column_init(&column->children[i], &field->row->fields[i]);
    column->child_arrays[i] = &column->children[i].array;
  }
}

static inline void floe_push_bit(struct floe_bytes *bits, size_t at, bool value) {
  if (at % 8 == 0) *floe_grow(bits, 1) = 0;
  bits->at[at / 8] |= (uint8_t)(value << (at % 8));
}

static void floe_first_null(struct floe_column *column) {
  size_t bytes = (column->length + 7) / 8;
  column->validity.length = 0;
  memset(floe_grow(&column->validity, bytes), 0xff, bytes);
  if (column->length % 8) column->validity.at[bytes - 1] = (uint8_t)((1u << column->length % 8) - 1);
}

/* Appends the value at `row`, or where `row` is 0 a null. */
static inline __attribute__((always_inline)) void floe_append(struct floe_column *column,
                                                              const struct floe_field *field, const char *row);

/* Out of line, for what is nested. */
static void floe_append_nested(struct floe_column *column, const char *row) {
  floe_append(column, column->field, row);
}

static inline __attribute__((always_inline)) void floe_append(struct floe_column *column,
                                                              const struct floe_field *field, const char *row) {
  bool is_null = !row || (field->has_offset != FLOE_REQUIRED && !*(const bool *)(row + field->has_offset));
  if (is_null) {
    if (!column->null_count++) floe_first_null(column);
    floe_push_bit(&column->validity, column->length, false);
  } else if (column->null_count) {
    floe_push_bit(&column->validity, column->length, true);
  }
  const char *value = is_null ? NULL : row + field->offset;
  switch (field->kind) {
    case FLOE_BOOL: floe_push_bit(&column->data, column->length, !is_null && *(const bool *)value); break;
    case FLOE_PLAIN: {
      uint8_t *to = floe_grow(&column->data, field->width);
      if (is_null) memset(to, 0, field->width);
      else memcpy(to, value, field->width);
      break;
    }
    case FLOE_BYTES: {
      if (!is_null) {
        floe_text text;
        memcpy(&text, value, sizeof text);
        if (text.length) memcpy(floe_grow(&column->data, text.length), text.bytes, text.length);
      }
      int32_t end = (int32_t)column->data.length;
      memcpy(floe_grow(&column->offsets, 4), &end, 4);
      break;
    }
    case FLOE_STRUCTS:
      for (uint32_t i = 0; i < column->child_count; i++)
        floe_append_nested(&column->children[i], is_null ? NULL : value);
      break;
    case FLOE_LISTS: {
      if (!is_null) {
        floe_list list;
        memcpy(&list, value, sizeof list);
        for (size_t i = 0; i < list.count; i++)
          floe_append_nested(column->children, (const char *)list.items + i * field->row->size);
      }
      int32_t end = (int32_t)column->children->length;
      memcpy(floe_grow(&column->offsets, 4), &end, 4);
      break;
    }
  }
  column->length++;
}

static void floe_truncate_bits(struct floe_bytes *bits, size_t length) {
  bits->length = (length + 7) / 8;
  if (length % 8) bits->at[length / 8] &= (uint8_t)((1u << length % 8) - 1);
}

static void floe_truncate(struct floe_column *column, size_t length) {
  const struct floe_field *field = column->field;
  if (length >= column->length) return;
  if (column->null_count) {
    for (size_t i = length; i < column->length; i++) column->null_count -= !floe_bit(column->validity.at, i);
    floe_truncate_bits(&column->validity, length);
  }
  int32_t end = 0;
  if (column->offsets.length) {
    memcpy(&end, column->offsets.at + 4 * length, 4);
    column->offsets.length = 4 * (length + 1);
  }
  switch (field->kind) {
    case FLOE_BOOL: floe_truncate_bits(&column->data, length); break;
    case FLOE_PLAIN: column->data.length = length * field->width; break;
    case FLOE_BYTES: column->data.length = (size_t)end; break;
    case FLOE_LISTS: floe_truncate(column->children, (size_t)end); break;
    case FLOE_STRUCTS:
      for (uint32_t i = 0; i < column->child_count; i++) floe_truncate(&column->children[i], length);
      break;
  }
  column->length = length;
}

static struct ArrowArray *floe_seal(struct floe_column *column) {
  uint32_t count = 0;
  column->buffers[count++] = column->null_count ? column->validity.at : NULL;
  if (column->offsets.length) column->buffers[count++] = column->offsets.at;
  if (column->field->kind < FLOE_LISTS) column->buffers[count++] = column->data.at;
  for (uint32_t i = 0; i < column->child_count; i++) floe_seal(&column->children[i]);
  memset(&column->array, 0, sizeof column->array);
  column->array.length = (int64_t)column->length;
  column->array.null_count = (int64_t)column->null_count;
  column->array.n_buffers = count;
  column->array.n_children = column->child_count;
  column->array.buffers = column->buffers;
  column->array.children = column->child_arrays;
  return &column->array;
}

static size_t floe_waiting(const struct floe_column *column) {
  size_t bytes = column->data.length + column->offsets.length + column->validity.length;
  for (uint32_t i = 0; i < column->child_count; i++) bytes += floe_waiting(&column->children[i]);
  return bytes;
}

/* ---- The running operator. ---- */

enum { FLOE_CHUNK_ROWS = 256 };
/* Rows go out in the middle of a batch beyond this: it bounds an operator that emits much. */
#define FLOE_WAITING_BYTES_MAX ((size_t)8 << 20)

/* An output is a struct column whose rows are the output's. */
struct floe_out { struct floe_field field; struct floe_column column; size_t rows_before, check_at; };

static struct floe_out floe_outs[FLOE_OUTPUTS_MAX];
static uint32_t floe_out_count;
static char *floe_rows;
static struct floe_arena floe_items;
static bool floe_is_processing, floe_is_rejected;
static struct floe_bytes floe_reason;
static struct floe_bytes floe_region;

static void floe_outs_init(void) {
  while (floe_out_count < FLOE_OUTPUTS_MAX && floe_this.outputs[floe_out_count].row) {
    struct floe_out *out = &floe_outs[floe_out_count];
    struct floe_field field = {"", "+s", FLOE_STRUCTS, 0, 0, FLOE_REQUIRED, floe_this.outputs[floe_out_count].row};
    out->field = field;
    out->check_at = 1024;
    floe_column_init(&out->column, &out->field);
    floe_out_count++;
  }
}

static inline __attribute__((always_inline)) void floe_emit_to(uint32_t output, const void *row) {
  if (output >= floe_out_count) floe_fail_with("a row for an output that is not declared");
  struct floe_column *column = &floe_outs[output].column;
  const struct floe_row *fields = floe_this.outputs[output].row;
  for (uint32_t i = 0; i < fields->count; i++)
    floe_append(&column->children[i], &fields->fields[i], (const char *)row);
  column->length++;
}

static void floe_hand_over(uint32_t output) {
  struct floe_out *out = &floe_outs[output];
  if (out->column.length) floe_emit(output, floe_seal(&out->column));
  floe_truncate(&out->column, 0);
  out->rows_before = 0;
  out->check_at = 1024;
}

static inline void floe_hand_over_large(void) {
  for (uint32_t i = 0; i < floe_out_count; i++) {
    struct floe_out *out = &floe_outs[i];
    if (out->column.length >= out->check_at) {
      out->check_at = out->column.length + 1024;
      if (floe_waiting(&out->column) > FLOE_WAITING_BYTES_MAX) floe_hand_over(i);
    }
    out->rows_before = out->column.length;
  }
}

static void floe_reject_row(const char *reason) {
  if (!floe_is_processing) floe_fail_with("a row is rejected during process only");
  if (floe_is_rejected) return;
  floe_is_rejected = true;
  size_t length = strlen(reason);
  if (length > FLOE_TEXT_BYTES_MAX) length = FLOE_TEXT_BYTES_MAX;
  /* Not in the middle of a letter. */
  while (length && length == FLOE_TEXT_BYTES_MAX && (reason[length] & 0xc0) == 0x80) length--;
  floe_reason.length = 0;
  memcpy(floe_grow(&floe_reason, length + 1), reason, length);
  floe_reason.length = length;
}

static void floe_reject_rowf(const char *format, ...) {
  char reason[1024];
  va_list values;
  va_start(values, format);
  vsnprintf(reason, sizeof reason, format, values);
  va_end(values);
  floe_reject_row(reason);
}

int32_t floe_process(const struct ArrowArray *batch) {
  const struct floe_row *input = floe_this.input;
  size_t rows = (size_t)batch->length;
  if (!floe_rows) floe_rows = (char *)floe_allocate(FLOE_CHUNK_ROWS * input->size);
  floe_is_processing = true;
  for (size_t first = 0; first < rows; first += FLOE_CHUNK_ROWS) {
    size_t count = rows - first < FLOE_CHUNK_ROWS ? rows - first : (size_t)FLOE_CHUNK_ROWS;
    for (uint32_t i = 0; i < input->count; i++)
      floe_read_column(&input->fields[i], batch->children[i], first, count, floe_rows, input->size, &floe_items);
    for (size_t i = 0; i < count; i++) {
      floe_this.process(floe_rows + i * input->size);
      if (floe_is_rejected) {
        for (uint32_t o = 0; o < floe_out_count; o++) {
          for (uint32_t c = 0; c < floe_outs[o].column.child_count; c++)
            floe_truncate(&floe_outs[o].column.children[c], floe_outs[o].rows_before);
          floe_outs[o].column.length = floe_outs[o].rows_before;
        }
        floe_reject((uint32_t)(first + i), (const char *)floe_reason.at, (uint32_t)floe_reason.length);
        floe_is_rejected = false;
      }
      floe_hand_over_large();
    }
    floe_arena_clear(&floe_items);
  }
  floe_is_processing = false;
  for (uint32_t i = 0; i < floe_out_count; i++) floe_hand_over(i);
  /* The rows point into the input: what is left of them is no state. */
  memset(floe_rows, 0, FLOE_CHUNK_ROWS * input->size);
  return 0;
}

int32_t floe_watermark(int64_t event_time_ms) {
  if (!floe_this.watermark) return 0;
  floe_this.watermark(event_time_ms);
  for (uint32_t i = 0; i < floe_out_count; i++) floe_hand_over(i);
  return 0;
}

void *floe_input(uint32_t bytes) {
  if (bytes > floe_region.capacity) {
    /* What was input is no state, so it is zeroed before it is given back. */
    if (floe_region.at) floe_zero(floe_region.at, floe_region.capacity);
    free(floe_region.at);
    size_t capacity = FLOE_INPUT_ALIGN * (((size_t)bytes + FLOE_INPUT_ALIGN - 1) / FLOE_INPUT_ALIGN);
    floe_region.at = (uint8_t *)aligned_alloc(FLOE_INPUT_ALIGN, capacity);
    if (!floe_region.at) floe_fail_with("out of memory (limits.memory)");
    floe_region.capacity = capacity;
  }
  return floe_region.at;
}

static struct ArrowSchema *floe_schema(const struct floe_field *field) {
  struct ArrowSchema *schema = (struct ArrowSchema *)floe_allocate(sizeof *schema);
  memset(schema, 0, sizeof *schema);
  schema->format = field->format;
  schema->name = field->name;
  schema->flags = field->has_offset == FLOE_REQUIRED ? 0 : ARROW_FLAG_NULLABLE;
  schema->n_children = field->row ? field->row->count : 0;
  if (schema->n_children)
    schema->children = (struct ArrowSchema **)floe_allocate((size_t)schema->n_children * sizeof(void *));
  for (int64_t i = 0; i < schema->n_children; i++) schema->children[i] = floe_schema(&field->row->fields[i]);
  return schema;
}

static struct ArrowSchema *floe_row_schema(const struct floe_row *row) {
  struct floe_field root = {"", "+s", FLOE_STRUCTS, 0, 0, FLOE_REQUIRED, row};
  return floe_schema(&root);
}

const struct floe_description *floe_describe(void) {
  static struct floe_description description;
  static struct floe_output outputs[FLOE_OUTPUTS_MAX];
  if (description.name) return &description;
  description.name = floe_this.name;
  description.name_len = (uint32_t)strlen(floe_this.name);
  description.version = floe_this.version;
  description.version_len = (uint32_t)strlen(floe_this.version);
  description.state_version = floe_this.state_version;
  description.input = floe_row_schema(floe_this.input);
  description.outputs = outputs;
  while (description.output_count < FLOE_OUTPUTS_MAX && floe_this.outputs[description.output_count].row) {
    const struct floe_output_row *output = &floe_this.outputs[description.output_count];
    outputs[description.output_count].name = output->name;
    outputs[description.output_count].name_len = (uint32_t)strlen(output->name);
    outputs[description.output_count].schema = floe_row_schema(output->row);
    description.output_count++;
  }
  return &description;
}

/* ---- The configuration: a JSON object of texts, numbers and truth values. ---- */

struct floe_config_entry { floe_text key, text; char kind; bool is_asked; };

static struct floe_config_entry floe_config[64];
static uint32_t floe_config_count;

static const char *floe_json_space(const char *at, const char *end) {
  while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) at++;
  return at;
}

static uint32_t floe_json_hex(const char *at, const char *end) {
  uint32_t value = 0;
  for (int i = 0; i < 4 && at < end; i++, at++)
    value = value * 16 + (uint32_t)(*at <= '9' ? *at - '0' : (*at | 32) - 'a' + 10);
  return value;
}

/* `at` is behind the opening quote. The text is written in a buffer of its own: it is kept. */
static const char *floe_json_text(const char *at, const char *end, floe_text *text) {
  char *to = (char *)floe_allocate((size_t)(end - at));
  size_t length = 0;
  while (at < end && *at != '"') {
    if (*at != '\\') { to[length++] = *at++; continue; }
    char escaped = at[1];
    at += 2;
    if (escaped != 'u') {
      const char *known = strchr("n\nt\tr\rb\bf\f", escaped);
      to[length++] = known && escaped >= 'a' ? known[1] : escaped;
      continue;
    }
    uint32_t letter = floe_json_hex(at, end);
    at += 4;
    if (letter >= 0xd800 && letter < 0xdc00 && end - at > 6) {
      letter = 0x10000 + ((letter & 0x3ff) << 10) + (floe_json_hex(at + 2, end) & 0x3ff);
      at += 6;
    }
    if (letter < 0x80) to[length++] = (char)letter;
    else {
      int more = letter < 0x800 ? 1 : letter < 0x10000 ? 2 : 3;
      to[length++] = (char)((more == 1 ? 0xc0 : more == 2 ? 0xe0 : 0xf0) | (letter >> (6 * more)));
      while (more--) to[length++] = (char)(0x80 | (letter >> (6 * more) & 0x3f));
    }
  }
  text->bytes = to;
  text->length = length;
  return at + 1;
}

static void floe_config_parse(const char *at, const char *end) {
  at = floe_json_space(at, end);
  if (at == end || *at != '{') floe_fail_with("the configuration is no JSON object");
  at = floe_json_space(at + 1, end);
  while (at < end && *at == '"') {
    if (floe_config_count == 64) floe_fail_with("the configuration has over 64 keys");
    struct floe_config_entry *entry = &floe_config[floe_config_count++];
    at = floe_json_space(floe_json_text(at + 1, end, &entry->key), end) + 1;
    at = floe_json_space(at, end);
    entry->kind = at < end ? *at : 0;
    if (entry->kind == '"') {
      at = floe_json_text(at + 1, end, &entry->text);
    } else {
      const char *begin = at;
      int depth = 0;
      bool is_text = false;
      while (at < end && (depth || is_text || (*at != ',' && *at != '}'))) {
        if (is_text && *at == '\\') at++;
        else if (*at == '"') is_text = !is_text;
        else if (!is_text) depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
        at++;
      }
      char *copy = (char *)floe_allocate((size_t)(at - begin) + 1);
      memcpy(copy, begin, (size_t)(at - begin));
      copy[at - begin] = 0;
      entry->text.bytes = copy;
      entry->text.length = (size_t)(at - begin);
    }
    at = floe_json_space(at, end);
    if (at < end && *at == ',') at = floe_json_space(at + 1, end);
  }
}

static struct floe_config_entry *floe_config_find(const char *key) {
  for (uint32_t i = 0; i < floe_config_count; i++)
    if (floe_text_is(floe_config[i].key, key)) {
      floe_config[i].is_asked = true;
      return &floe_config[i];
    }
  return NULL;
}

static void floe_config_wrong(const char *key, const char *expected) __attribute__((noreturn));
static void floe_config_wrong(const char *key, const char *expected) {
  char text[256];
  strcpy(text, "config.");
  strncat(text, key, 100);
  strcat(text, " must be ");
  strcat(text, expected);
  floe_fail_with(text);
}

static bool floe_config_text(const char *key, floe_text *value) {
  struct floe_config_entry *entry = floe_config_find(key);
  if (!entry) return false;
  if (entry->kind != '"') floe_config_wrong(key, "a text");
  *value = entry->text;
  return true;
}

static int64_t floe_config_long(const char *key, int64_t otherwise) {
  struct floe_config_entry *entry = floe_config_find(key);
  if (!entry) return otherwise;
  char *end;
  int64_t value = strtoll(entry->text.bytes, &end, 10);
  while (*end == ' ' || *end == '\n') end++;
  if (entry->kind == '"' || *end) floe_config_wrong(key, "a whole number");
  return value;
}

static bool floe_config_bool(const char *key, bool otherwise) {
  struct floe_config_entry *entry = floe_config_find(key);
  if (!entry) return otherwise;
  if (entry->kind != 't' && entry->kind != 'f') floe_config_wrong(key, "true or false");
  return entry->kind == 't';
}

int32_t floe_open(const char *config, uint32_t config_len) {
  floe_config_parse(config, config + config_len);
  floe_outs_init();
  if (floe_this.open) floe_this.open();
  for (uint32_t i = 0; i < floe_config_count; i++)
    if (!floe_config[i].is_asked) {
      char text[256] = "the configuration has a key that this operator does not know: ";
      size_t length = floe_config[i].key.length;
      strncat(text, floe_config[i].key.bytes, length < 100 ? length : 100);
      floe_fail_with(text);
    }
  return 0;
}

#endif /* FLOE_IMPL_H */
