/* A script's declaration of its columns, as floe.h's rows: "int64", "text?", { a: "bool" }, ["text"]. */
#ifndef FLOE_JS_TYPES_H
#define FLOE_JS_TYPES_H

/* The only key of an object that makes what it holds nullable: what nullable() gives. */
#define NULLABLE "?"
#define NAMES (JS_GPN_STRING_MASK | JS_GPN_ENUM_ONLY)

/* How a value of it looks in JavaScript. */
enum look { LOOK_BOOL, LOOK_SIGNED, LOOK_UNSIGNED, LOOK_BIG, LOOK_FLOAT, LOOK_TEXT, LOOK_BYTES, LOOK_DECIMAL, LOOK_ROW, LOOK_LIST };

/* A struct's members, or a list's item; plain types have none. `row` is what floe.h sees of it. */
struct type {
  struct floe_row row;
  struct column *columns;
  bool is_struct, is_nullable;
};

struct column {
  struct floe_field field;
  enum look look;
  int scale;
  JSAtom atom;
  struct type *below;
};

struct plain_type { const char *name, *format; enum floe_kind kind; uint32_t width; enum look look; };

static const struct plain_type plain_types[] = {
    {"bool", "b", FLOE_BOOL, 1, LOOK_BOOL},          {"int8", "c", FLOE_PLAIN, 1, LOOK_SIGNED},
    {"int16", "s", FLOE_PLAIN, 2, LOOK_SIGNED},      {"int32", "i", FLOE_PLAIN, 4, LOOK_SIGNED},
    {"int64", "l", FLOE_PLAIN, 8, LOOK_SIGNED},      {"bigint", "l", FLOE_PLAIN, 8, LOOK_BIG},
    {"uint8", "C", FLOE_PLAIN, 1, LOOK_UNSIGNED},    {"uint16", "S", FLOE_PLAIN, 2, LOOK_UNSIGNED},
    {"uint32", "I", FLOE_PLAIN, 4, LOOK_UNSIGNED},   {"uint64", "L", FLOE_PLAIN, 8, LOOK_UNSIGNED},
    {"float32", "f", FLOE_PLAIN, 4, LOOK_FLOAT},     {"float64", "g", FLOE_PLAIN, 8, LOOK_FLOAT},
    {"text", "u", FLOE_BYTES, 8, LOOK_TEXT},         {"binary", "z", FLOE_BYTES, 8, LOOK_BYTES},
    {"date", "tdD", FLOE_PLAIN, 4, LOOK_SIGNED},     {"time", "ttu", FLOE_PLAIN, 8, LOOK_SIGNED},
    {"millis", "tsm:UTC", FLOE_PLAIN, 8, LOOK_SIGNED}, {"micros", "tsu:UTC", FLOE_PLAIN, 8, LOOK_SIGNED},
    {"nanos", "tsn:UTC", FLOE_PLAIN, 8, LOOK_SIGNED},
};

static void *zeroed(size_t bytes) {
  void *at = floe_allocate(bytes);
  memset(at, 0, bytes);
  return at;
}

static const char *kept_text(const char *text) {
  char *copy = (char *)floe_allocate(strlen(text) + 1);
  return strcpy(copy, text);
}

/* Sets what a declaration says of a column; gives its bytes in a row, or 0 with an exception. */
static uint32_t column_of(JSContext *context, JSValueConst spec, struct column *column, const char *name);

static struct type *type_of_members(JSContext *context, JSValueConst spec) {
  JSPropertyEnum *names;
  uint32_t count;
  if (JS_GetOwnPropertyNames(context, &names, &count, spec, NAMES)) return NULL;
  struct type *type = (struct type *)zeroed(sizeof *type);
  struct floe_field *fields = (struct floe_field *)zeroed((count + 1) * sizeof *fields);
  type->columns = (struct column *)zeroed((count + 1) * sizeof *type->columns);
  type->is_struct = true;
  uint32_t at = 0;
  for (uint32_t i = 0; i < count; i++) {
    struct column *column = &type->columns[i];
    const char *name = JS_AtomToCString(context, names[i].atom);
    JSValue below = JS_GetProperty(context, spec, names[i].atom);
    uint32_t bytes = column_of(context, below, column, kept_text(name));
    JS_FreeValue(context, below);
    JS_FreeCString(context, name);
    if (!bytes) return NULL;
    column->atom = names[i].atom; /* kept */
    column->field.offset += at;
    if (column->field.has_offset != FLOE_REQUIRED) column->field.has_offset += at;
    at += (bytes + 7) / 8 * 8;
    fields[i] = column->field;
  }
  js_free(context, names);
  type->row = (struct floe_row){fields, count, at};
  return type;
}

static bool plain_of(JSContext *context, const char *spec, struct column *column, const char *name) {
  struct floe_field *field = &column->field;
  size_t length = strlen(spec);
  for (size_t i = 0; i < sizeof plain_types / sizeof *plain_types; i++) {
    const struct plain_type *plain = &plain_types[i];
    if (strcmp(plain->name, spec)) continue;
    field->format = plain->format;
    field->kind = plain->kind;
    field->width = plain->width;
    column->look = plain->look;
    return true;
  }
  int first, second, end = 0;
  char format[32];
  if (sscanf(spec, "decimal(%d,%d)%n", &first, &second, &end) == 2 && end == (int)length) {
    snprintf(format, sizeof format, "d:%d,%d", first, second);
    field->width = 16;
    column->look = LOOK_DECIMAL;
    column->scale = second;
    if (second < 0 || second > 38) end = 0;
  } else if (sscanf(spec, "fixed(%d)%n", &first, &end) == 1 && end == (int)length && first > 0 && first <= 65536) {
    snprintf(format, sizeof format, "w:%d", first);
    field->width = (uint32_t)first;
    column->look = LOOK_BYTES;
  } else {
    end = 0;
  }
  if (!end) {
    JS_ThrowTypeError(context, "column %s: there is no type \"%s\"", name, spec);
    return false;
  }
  field->format = kept_text(format);
  field->kind = FLOE_PLAIN;
  return true;
}

static uint32_t column_of(JSContext *context, JSValueConst spec, struct column *column, const char *name) {
  struct floe_field *field = &column->field;
  field->name = name;
  field->has_offset = FLOE_REQUIRED;
  bool is_nullable = false;
  uint32_t bytes = 0;
  if (JS_IsString(spec)) {
    const char *text = JS_ToCString(context, spec);
    char plain[64];
    snprintf(plain, sizeof plain, "%s", text);
    JS_FreeCString(context, text);
    size_t length = strlen(plain);
    if (length && plain[length - 1] == '?') {
      is_nullable = true;
      plain[length - 1] = 0;
    }
    if (!plain_of(context, plain, column, name)) return 0;
    bytes = field->width;
  } else if (JS_IsArray(spec)) {
    JSValue item = JS_GetPropertyUint32(context, spec, 0);
    JSValue members = JS_NewObject(context);
    JS_DefinePropertyValueStr(context, members, "item", item, JS_PROP_C_W_E);
    column->below = type_of_members(context, members);
    JS_FreeValue(context, members);
    if (!column->below) return 0;
    field->format = "+l";
    field->kind = FLOE_LISTS;
    column->look = LOOK_LIST;
    bytes = sizeof(floe_list);
  } else if (JS_IsObject(spec)) {
    JSPropertyEnum *names;
    uint32_t count;
    if (JS_GetOwnPropertyNames(context, &names, &count, spec, NAMES)) return 0;
    JSValue inner = JS_GetPropertyStr(context, spec, NULLABLE);
    if (count == 1 && !JS_IsUndefined(inner)) {
      bytes = column_of(context, inner, column, name);
      JS_FreeValue(context, inner);
      if (!bytes) return 0;
      if (field->has_offset != FLOE_REQUIRED) return bytes;
      is_nullable = true;
    } else {
      column->below = type_of_members(context, spec);
      if (!column->below) return 0;
      field->format = "+s";
      field->kind = FLOE_STRUCTS;
      column->look = LOOK_ROW;
      bytes = column->below->row.size ? column->below->row.size : 8;
    }
    js_free(context, names);
  } else {
    JS_ThrowTypeError(context, "column %s must have a type, as in \"int64\"", name);
    return 0;
  }
  if (column->below) field->row = &column->below->row;
  if (is_nullable) {
    field->has_offset = bytes;
    bytes++;
  }
  return bytes;
}

static struct type *type_of(JSContext *context, JSValueConst spec, const char *what) {
  (void)what;
  return type_of_members(context, spec);
}

#endif
