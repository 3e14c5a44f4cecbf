/* Rows to objects of JavaScript, and back. A value that does not fit its column is an exception. */
#ifndef FLOE_JS_VALUES_H
#define FLOE_JS_VALUES_H

#define SAFE_MAX 9007199254740991 /* 2^53 - 1: whole numbers up to here are exact */

/* ---- To JavaScript. ---- */

static JSValue row_to_js(JSContext *context, const struct type *type, const char *row);

/* A number where it is exact, and a BigInt beyond. */
static JSValue whole_to_js(JSContext *context, int64_t value) {
  if (value >= -SAFE_MAX && value <= SAFE_MAX) return JS_NewInt64(context, value);
  return JS_NewBigInt64(context, value);
}

/* The digits of an integer of 128 bits with a point `scale` digits from its end. */
static JSValue decimal_to_js(JSContext *context, __int128 value, int scale) {
  char text[48];
  size_t at = sizeof text;
  unsigned __int128 rest = value < 0 ? -(unsigned __int128)value : (unsigned __int128)value;
  for (int digits = 0; rest || digits <= scale; digits++) {
    if (scale && digits == scale) text[--at] = '.';
    text[--at] = (char)('0' + (int)(rest % 10));
    rest /= 10;
  }
  if (value < 0) text[--at] = '-';
  return JS_NewStringLen(context, text + at, sizeof text - at);
}

static JSValue whole_of_width(JSContext *context, const struct column *column, const char *at) {
  uint64_t bits = 0;
  uint32_t width = column->field.width;
  memcpy(&bits, at, width);
  if (column->look == LOOK_UNSIGNED)
    return bits > SAFE_MAX ? JS_NewBigUint64(context, bits) : JS_NewInt64(context, (int64_t)bits);
  int shift = 64 - 8 * (int)width;
  return whole_to_js(context, (int64_t)(bits << shift) >> shift);
}

static JSValue value_to_js(JSContext *context, const struct column *column, const char *row) {
  const struct floe_field *field = &column->field;
  if (field->has_offset != FLOE_REQUIRED && !*(const bool *)(row + field->has_offset)) return JS_NULL;
  const char *at = row + field->offset;
  switch (column->look) {
    case LOOK_BOOL: return JS_NewBool(context, *(const bool *)at);
    case LOOK_SIGNED:
    case LOOK_UNSIGNED: return whole_of_width(context, column, at);
    case LOOK_BIG: {
      int64_t value;
      memcpy(&value, at, 8);
      return JS_NewBigInt64(context, value);
    }
    case LOOK_FLOAT: {
      float single;
      double value;
      if (field->width == 4) {
        memcpy(&single, at, 4);
        value = (double)single;
      } else {
        memcpy(&value, at, 8);
      }
      return JS_NewFloat64(context, value);
    }
    case LOOK_TEXT: {
      floe_text text;
      memcpy(&text, at, sizeof text);
      return JS_NewStringLen(context, text.bytes, text.length);
    }
    case LOOK_BYTES: {
      if (field->kind == FLOE_PLAIN) return JS_NewUint8ArrayCopy(context, (const uint8_t *)at, field->width);
      floe_binary binary;
      memcpy(&binary, at, sizeof binary);
      return JS_NewUint8ArrayCopy(context, binary.bytes, binary.length);
    }
    case LOOK_DECIMAL: {
      __int128 value;
      memcpy(&value, at, 16);
      return decimal_to_js(context, value, column->scale);
    }
    case LOOK_ROW: return row_to_js(context, column->below, at);
    case LOOK_LIST: {
      floe_list list;
      memcpy(&list, at, sizeof list);
      JSValue array = JS_NewArray(context);
      for (size_t i = 0; i < list.count; i++) {
        const char *item = (const char *)list.items + i * column->below->row.size;
        JS_DefinePropertyValueUint32(context, array, (uint32_t)i,
                                     value_to_js(context, column->below->columns, item), JS_PROP_C_W_E);
      }
      return array;
    }
  }
  return JS_UNDEFINED;
}

static JSValue row_to_js(JSContext *context, const struct type *type, const char *row) {
  JSValue object = JS_NewObject(context);
  for (uint32_t i = 0; i < type->row.count; i++) {
    JSValue value = value_to_js(context, &type->columns[i], row);
    if (JS_IsException(value)) return value;
    JS_DefinePropertyValue(context, object, type->columns[i].atom, value, JS_PROP_C_W_E);
  }
  return object;
}

/* ---- From JavaScript. ---- */

/* What an emitted row points to, until it was copied. */
struct borrowed {
  struct floe_arena items;
  const char **texts;
  size_t count, capacity;
};

static void borrow(struct borrowed *borrowed, const char *text) {
  if (borrowed->count == borrowed->capacity) {
    borrowed->capacity = borrowed->capacity ? borrowed->capacity * 2 : 8;
    borrowed->texts = (const char **)realloc(borrowed->texts, borrowed->capacity * sizeof *borrowed->texts);
    if (!borrowed->texts) floe_fail_with("out of memory (limits.memory)");
  }
  borrowed->texts[borrowed->count++] = text;
}

static void give_back(JSContext *context, struct borrowed *borrowed) {
  floe_arena_clear(&borrowed->items);
  free(borrowed->items.pieces);
  while (borrowed->count) JS_FreeCString(context, borrowed->texts[--borrowed->count]);
  free(borrowed->texts);
}

/* Half of a surrogate pair is no UTF-8: it becomes U+FFFD, which has as many bytes. */
static void well_formed(char *text, size_t length) {
  for (size_t i = 0; i + 2 < length; i++)
    if ((uint8_t)text[i] == 0xed && (uint8_t)text[i + 1] >= 0xa0) memcpy(text + i, "\xef\xbf\xbd", 3);
}

static bool wrong(JSContext *context, const struct column *column, JSValueConst value, const char *expected) {
  const char *text = JS_ToCString(context, value);
  JS_ThrowTypeError(context, "column %s: %s is not %s", column->field.name, text ? text : "the value", expected);
  if (text) JS_FreeCString(context, text);
  return false;
}

/* The bits of a whole number that fits; a number must be exact, a BigInt may be anything of 64 bits. */
static bool whole_from_js(JSContext *context, const struct column *column, JSValueConst value, void *to) {
  uint32_t width = column->field.width;
  bool is_unsigned = column->look == LOOK_UNSIGNED;
  int64_t bits = 0;
  if (JS_IsBigInt(value)) {
    JSValue again;
    if (is_unsigned) {
      uint64_t unsigned_bits;
      JS_ToBigUint64(context, &unsigned_bits, value);
      again = JS_NewBigUint64(context, unsigned_bits);
      bits = (int64_t)unsigned_bits;
    } else {
      JS_ToBigInt64(context, &bits, value);
      again = JS_NewBigInt64(context, bits);
    }
    bool is_same = JS_IsStrictEqual(context, again, value);
    JS_FreeValue(context, again);
    if (!is_same) return wrong(context, column, value, "in the range of 64 bits");
  } else {
    double number;
    if (JS_IsDate(value) ? JS_ToFloat64(context, &number, value) : !JS_IsNumber(value))
      return wrong(context, column, value, "a whole number");
    if (!JS_IsDate(value)) JS_ToFloat64(context, &number, value);
    if (!(number >= -(double)SAFE_MAX && number <= (double)SAFE_MAX) || number != (double)(int64_t)number)
      return wrong(context, column, value, "a whole number below 2 to the power of 53 (give a BigInt)");
    bits = (int64_t)number;
    if (is_unsigned && bits < 0) return wrong(context, column, value, "in its range");
  }
  if (width < 8) {
    int64_t end = (int64_t)1 << (8 * width - !is_unsigned);
    if (bits >= end || bits < (is_unsigned ? 0 : -end)) return wrong(context, column, value, "in its range");
  }
  memcpy(to, &bits, width);
  return true;
}

/* "-12.34", 12, 12n: at most `scale` digits behind the point. */
static bool decimal_from_js(JSContext *context, const struct column *column, JSValueConst value, void *to) {
  const char *text = JS_ToCString(context, value);
  if (!text) return false;
  const char *at = text + (*text == '-');
  unsigned __int128 all = 0;
  int digits = 0, behind = -1;
  for (; (*at >= '0' && *at <= '9') || (*at == '.' && behind < 0); at++) {
    if (*at == '.') { behind = 0; continue; }
    all = all * 10 + (unsigned)(*at - '0');
    digits += digits || *at != '0';
    if (behind >= 0) behind++;
  }
  bool is_number = !*at && at > text && digits <= 38 && behind <= column->scale;
  for (int i = behind < 0 ? 0 : behind; is_number && i < column->scale; i++) {
    all *= 10;
    is_number = ++digits <= 38 || !all;
  }
  bool is_negative = *text == '-';
  JS_FreeCString(context, text);
  if (!is_number) return wrong(context, column, value, "a decimal of its scale");
  __int128 signed_value = is_negative ? -(__int128)all : (__int128)all;
  memcpy(to, &signed_value, 16);
  return true;
}

static bool bytes_from_js(JSContext *context, const struct column *column, JSValueConst value, char *to,
                          struct borrowed *borrowed) {
  size_t length = 0;
  const uint8_t *bytes = JS_GetTypedArrayType(value) >= 0 ? JS_GetUint8Array(context, &length, value) : NULL;
  if (!bytes && length) return wrong(context, column, value, "a Uint8Array");
  if (!bytes && JS_GetTypedArrayType(value) < 0) return wrong(context, column, value, "a Uint8Array");
  if (column->field.kind == FLOE_PLAIN) {
    if (length != column->field.width) return wrong(context, column, value, "of its number of bytes");
    memcpy(to, bytes, length);
    return true;
  }
  /* A copy: a getter of a later column could change the array. */
  uint8_t *copy = (uint8_t *)floe_arena_take(&borrowed->items, length);
  if (length) memcpy(copy, bytes, length);
  floe_binary binary = {copy, length};
  memcpy(to, &binary, sizeof binary);
  return true;
}

static bool row_from_js(JSContext *context, const struct type *type, JSValueConst object, char *row,
                        struct borrowed *borrowed);
static bool value_from_js(JSContext *context, const struct column *column, JSValueConst value, char *row,
                          struct borrowed *borrowed);

static bool list_from_js(JSContext *context, const struct column *column, JSValueConst value, char *to,
                         struct borrowed *borrowed) {
  int64_t length;
  if (!JS_IsArray(value)) return wrong(context, column, value, "an array");
  if (JS_GetLength(context, value, &length)) return false;
  size_t size = column->below->row.size;
  if (length > INT32_MAX / (int64_t)size) return wrong(context, column, JS_UNDEFINED, "a list of that many items");
  char *items = (char *)floe_arena_take(&borrowed->items, (size_t)length * size);
  memset(items, 0, (size_t)length * size);
  for (int64_t i = 0; i < length; i++) {
    JSValue item = JS_GetPropertyUint32(context, value, (uint32_t)i);
    bool is_item = !JS_IsException(item) &&
                   value_from_js(context, column->below->columns, item, items + (size_t)i * size, borrowed);
    JS_FreeValue(context, item);
    if (!is_item) return false;
  }
  floe_list list = {items, (size_t)length};
  memcpy(to, &list, sizeof list);
  return true;
}

static bool value_from_js(JSContext *context, const struct column *column, JSValueConst value, char *row,
                          struct borrowed *borrowed) {
  const struct floe_field *field = &column->field;
  bool is_null = JS_IsNull(value) || JS_IsUndefined(value);
  if (field->has_offset != FLOE_REQUIRED) *(bool *)(row + field->has_offset) = !is_null;
  else if (is_null) return wrong(context, column, value, "a value, and the column is not nullable");
  if (is_null) return true;
  char *to = row + field->offset;
  switch (column->look) {
    case LOOK_BOOL:
      if (!JS_IsBool(value)) return wrong(context, column, value, "true or false");
      *(bool *)to = JS_ToBool(context, value);
      return true;
    case LOOK_SIGNED:
    case LOOK_UNSIGNED:
    case LOOK_BIG: return whole_from_js(context, column, value, to);
    case LOOK_FLOAT: {
      double number;
      if (!JS_IsNumber(value)) return wrong(context, column, value, "a number");
      JS_ToFloat64(context, &number, value);
      float single = (float)number;
      memcpy(to, field->width == 4 ? (const void *)&single : (const void *)&number, field->width);
      return true;
    }
    case LOOK_TEXT: {
      if (!JS_IsString(value)) return wrong(context, column, value, "a text");
      floe_text text;
      text.bytes = JS_ToCStringLen(context, &text.length, value);
      if (!text.bytes) return false;
      borrow(borrowed, text.bytes);
      well_formed((char *)text.bytes, text.length);
      memcpy(to, &text, sizeof text);
      return true;
    }
    case LOOK_BYTES: return bytes_from_js(context, column, value, to, borrowed);
    case LOOK_DECIMAL: return decimal_from_js(context, column, value, to);
    case LOOK_ROW: return row_from_js(context, column->below, value, to, borrowed);
    case LOOK_LIST: return list_from_js(context, column, value, to, borrowed);
  }
  return false;
}

static bool row_from_js(JSContext *context, const struct type *type, JSValueConst object, char *row,
                        struct borrowed *borrowed) {
  if (!JS_IsObject(object)) {
    JS_ThrowTypeError(context, "a row must be an object");
    return false;
  }
  for (uint32_t i = 0; i < type->row.count; i++) {
    JSValue value = JS_GetProperty(context, object, type->columns[i].atom);
    bool is_value = !JS_IsException(value) && value_from_js(context, &type->columns[i], value, row, borrowed);
    JS_FreeValue(context, value);
    if (!is_value) return false;
  }
  return true;
}

#endif
