/* The JavaScript engine as an operator: QuickJS, the SDK of C beneath it, and room for one script, which
 * `floe build` writes as a data segment. The script's default export says what the operator is.
 *
 * Everything of the script lies in the linear memory, so it is captured and restored with it. */
#define FLOE_MADE_AT_START
#define FLOE_HAS_STATE
#include "../../c/floe.h"

#include "quickjs.h"

#include "types.h"
#include "values.h"

/* floe_operator's `script` module writes here, and knows the size. */
#define SCRIPT_BYTES_MAX ((1 << 20) - 8)
struct script { uint32_t length; char text[SCRIPT_BYTES_MAX + 1]; };
__attribute__((used, visibility("default"))) struct script floe_script;

struct floe_operator floe_this;

static JSRuntime *runtime;
static JSContext *js;
static JSValue operator_object, open_function, process_function, watermark_function, export_function,
    import_function, emit_function;
static struct type *input_row, *output_rows[FLOE_OUTPUTS_MAX];
static bool may_emit;

/* ---- Failing. ---- */

/* Ends the call with the exception that was thrown. */
static void fail_with_exception(void) __attribute__((noreturn));
static void fail_with_exception(void) {
  JSValue exception = JS_GetException(js);
  const char *what = JS_ToCString(js, exception);
  JSValue stack = JS_IsObject(exception) ? JS_GetPropertyStr(js, exception, "stack") : JS_UNDEFINED;
  const char *lines = JS_IsString(stack) ? JS_ToCString(js, stack) : "";
  static char text[8192];
  int length = snprintf(text, sizeof text, "%s\n%s", what ? what : "?", lines);
  if (length >= (int)sizeof text) length = sizeof text - 1;
  while (length && text[length - 1] == '\n') length--;
  floe_fail(text, (uint32_t)length);
}

/* Runs what promises left to do, so that nothing waits when the call ends. */
static void finish(JSValue result) {
  if (JS_IsException(result)) fail_with_exception();
  if (JS_IsPromise(result)) {
    JS_FreeValue(js, result);
    JS_ThrowTypeError(js, "process and watermark must not be async: what it emits after an await would be another call's");
    fail_with_exception();
  }
  JS_FreeValue(js, result);
  JSContext *context;
  int done;
  while ((done = JS_ExecutePendingJob(runtime, &context)) > 0) {
  }
  if (done < 0) fail_with_exception();
}

/* ---- What a script may call. ---- */

static JSValue host_reject(JSContext *context, JSValueConst this, int count, JSValueConst *values) {
  (void)this;
  const char *reason = JS_ToCString(context, count ? values[0] : JS_UNDEFINED);
  if (!reason) return JS_EXCEPTION;
  if (!floe_is_processing) {
    JS_FreeCString(context, reason);
    return JS_ThrowTypeError(context, "a row is rejected during process only");
  }
  floe_reject_row(reason);
  JS_ThrowPlainError(context, "%s", reason);
  JS_FreeCString(context, reason);
  return JS_EXCEPTION;
}

static JSValue host_now(JSContext *context, JSValueConst this, int count, JSValueConst *values) {
  (void)this, (void)count, (void)values;
  return JS_NewInt64(context, floe_now());
}

static JSValue host_random(JSContext *context, JSValueConst this, int count, JSValueConst *values) {
  (void)this, (void)count, (void)values;
  return JS_NewBigUint64(context, floe_random());
}

/* Math.random: 53 of the 64 bits. */
static JSValue host_math_random(JSContext *context, JSValueConst this, int count, JSValueConst *values) {
  (void)this, (void)count, (void)values;
  return JS_NewFloat64(context, (double)(floe_random() >> 11) * 0x1p-53);
}

static JSValue host_log(JSContext *context, JSValueConst this, int count, JSValueConst *values, int level) {
  (void)this;
  struct floe_bytes line = {0};
  for (int i = 0; i < count; i++) {
    size_t length;
    const char *text = JS_ToCStringLen(context, &length, values[i]);
    if (!text) { free(line.at); return JS_EXCEPTION; }
    if (i) *floe_grow(&line, 1) = ' ';
    memcpy(floe_grow(&line, length), text, length);
    JS_FreeCString(context, text);
  }
  well_formed((char *)line.at, line.length);
  floe_log((uint32_t)level, (const char *)line.at,
           (uint32_t)(line.length < FLOE_TEXT_BYTES_MAX ? line.length : FLOE_TEXT_BYTES_MAX));
  free(line.at);
  return JS_UNDEFINED;
}

static JSValue host_nullable(JSContext *context, JSValueConst this, int count, JSValueConst *values) {
  (void)this;
  JSValue object = JS_NewObject(context);
  JS_DefinePropertyValueStr(context, object, NULLABLE, JS_DupValue(context, count ? values[0] : JS_UNDEFINED),
                            JS_PROP_C_W_E);
  return object;
}

/* emit(row), emit(row, "late") */
static JSValue host_emit(JSContext *context, JSValueConst this, int count, JSValueConst *values) {
  (void)this;
  if (!may_emit) return JS_ThrowTypeError(context, "rows are emitted during process and watermark only");
  uint32_t output = 0;
  if (count > 1 && !JS_IsUndefined(values[1])) {
    const char *name = JS_ToCString(context, values[1]);
    if (!name) return JS_EXCEPTION;
    while (output < FLOE_OUTPUTS_MAX && output_rows[output] && strcmp(floe_this.outputs[output].name, name)) output++;
    if (output == FLOE_OUTPUTS_MAX || !output_rows[output]) {
      JS_ThrowRangeError(context, "there is no output %s", name);
      JS_FreeCString(context, name);
      return JS_EXCEPTION;
    }
    JS_FreeCString(context, name);
  }
  char row[output_rows[output]->row.size];
  memset(row, 0, sizeof row);
  struct borrowed borrowed = {0};
  bool is_row = row_from_js(context, output_rows[output], count ? values[0] : JS_UNDEFINED, row, &borrowed);
  if (is_row) floe_emit_to(output, row);
  give_back(context, &borrowed);
  return is_row ? JS_UNDEFINED : JS_EXCEPTION;
}

static const JSCFunctionListEntry host_functions[] = {
    JS_CFUNC_DEF("reject", 1, host_reject),       JS_CFUNC_DEF("now", 0, host_now),
    JS_CFUNC_DEF("random", 0, host_random),       JS_CFUNC_DEF("nullable", 1, host_nullable),
};

static int init_host_module(JSContext *context, JSModuleDef *module) {
  return JS_SetModuleExportList(context, module, host_functions, sizeof host_functions / sizeof *host_functions);
}

static const JSCFunctionListEntry console_functions[] = {
    JS_CFUNC_MAGIC_DEF("error", 1, host_log, FLOE_LOG_ERROR), JS_CFUNC_MAGIC_DEF("warn", 1, host_log, FLOE_LOG_WARN),
    JS_CFUNC_MAGIC_DEF("log", 1, host_log, FLOE_LOG_INFO),    JS_CFUNC_MAGIC_DEF("info", 1, host_log, FLOE_LOG_INFO),
    JS_CFUNC_MAGIC_DEF("debug", 1, host_log, FLOE_LOG_DEBUG),
};

/* ---- The operator's calls. ---- */

static JSValue config_value(JSContext *context, JSValueConst this, int count, JSValueConst *values, int index) {
  (void)this, (void)count, (void)values;
  struct floe_config_entry *entry = &floe_config[index];
  entry->is_asked = true;
  if (entry->kind == '"') return JS_NewStringLen(context, entry->text.bytes, entry->text.length);
  return JS_ParseJSON(context, entry->text.bytes, entry->text.length, "config");
}

static void open(void) {
  if (JS_IsUndefined(open_function)) return;
  /* A key is known to the script when it reads it. */
  JSValue config = JS_NewObject(js);
  for (uint32_t i = 0; i < floe_config_count; i++) {
    JSAtom key = JS_NewAtomLen(js, floe_config[i].key.bytes, floe_config[i].key.length);
    JSValue getter = JS_NewCFunctionMagic(js, config_value, "config", 0, JS_CFUNC_generic_magic, (int)i);
    JS_DefinePropertyGetSet(js, config, key, getter, JS_UNDEFINED, JS_PROP_ENUMERABLE);
    JS_FreeAtom(js, key);
  }
  finish(JS_Call(js, open_function, operator_object, 1, &config));
  JS_FreeValue(js, config);
}

static void process(const void *row) {
  JSValue arguments[2] = {row_to_js(js, input_row, row), emit_function};
  if (JS_IsException(arguments[0])) fail_with_exception();
  may_emit = true;
  JSValue result = JS_Call(js, process_function, operator_object, 2, arguments);
  if (floe_is_rejected && JS_IsException(result)) {
    JS_FreeValue(js, JS_GetException(js));
    result = JS_UNDEFINED;
  }
  finish(result);
  may_emit = false;
  JS_FreeValue(js, arguments[0]);
}

static void watermark(int64_t event_time_ms) {
  if (JS_IsUndefined(watermark_function)) return;
  JSValue arguments[2] = {JS_NewInt64(js, event_time_ms), emit_function};
  may_emit = true;
  finish(JS_Call(js, watermark_function, operator_object, 2, arguments));
  may_emit = false;
}

const struct floe_state *floe_export_state(void) {
  static struct floe_state state;
  if (JS_IsUndefined(export_function)) floe_fail_with("the script has no exportState");
  JSValue value = JS_Call(js, export_function, operator_object, 0, NULL);
  JSValue text = JS_IsException(value) ? value : JS_JSONStringify(js, value, JS_UNDEFINED, JS_UNDEFINED);
  if (JS_IsException(text)) fail_with_exception();
  size_t length;
  if (!JS_IsString(text)) floe_fail_with("exportState must give what JSON can hold");
  state.text = JS_ToCStringLen(js, &length, text);
  state.text_len = (uint32_t)length;
  state.version = floe_this.state_version;
  return &state;
}

int32_t floe_import_state(const struct floe_state *states, uint32_t count) {
  if (JS_IsUndefined(import_function)) floe_fail_with("the script has no importState");
  JSValue all = JS_NewArray(js);
  for (uint32_t i = 0; i < count; i++) {
    char *text = (char *)floe_allocate(states[i].text_len + 1);
    memcpy(text, states[i].text, states[i].text_len);
    text[states[i].text_len] = 0;
    JSValue one = JS_NewObject(js);
    JSValue state = JS_ParseJSON(js, text, states[i].text_len, "state");
    free(text);
    if (JS_IsException(state)) fail_with_exception();
    JS_DefinePropertyValueStr(js, one, "version", JS_NewUint32(js, states[i].version), JS_PROP_C_W_E);
    JS_DefinePropertyValueStr(js, one, "state", state, JS_PROP_C_W_E);
    JS_DefinePropertyValueUint32(js, all, i, one, JS_PROP_C_W_E);
  }
  finish(JS_Call(js, import_function, operator_object, 1, &all));
  JS_FreeValue(js, all);
  return 0;
}

/* ---- Loading the script. ---- */

static char *text_of(const char *name, const char *otherwise) {
  JSValue value = JS_GetPropertyStr(js, operator_object, name);
  if (JS_IsUndefined(value) && otherwise) return (char *)otherwise;
  if (!JS_IsString(value)) {
    JS_ThrowTypeError(js, "the default export's %s must be a text", name);
    fail_with_exception();
  }
  const char *text = JS_ToCString(js, value);
  JS_FreeValue(js, value);
  return (char *)text; /* kept for ever */
}

static JSValue function_of(const char *name, bool is_required) {
  JSValue value = JS_GetPropertyStr(js, operator_object, name);
  if (JS_IsUndefined(value) && !is_required) return value;
  if (!JS_IsFunction(js, value)) {
    JS_ThrowTypeError(js, "the default export's %s must be a function", name);
    fail_with_exception();
  }
  return value;
}

static struct type *row_of(JSValue spec, const char *what) {
  struct type *type = JS_IsObject(spec) ? type_of(js, spec, what) : NULL;
  if (!type && !JS_HasException(js)) JS_ThrowTypeError(js, "the default export's %s must name its columns", what);
  if (!type) fail_with_exception();
  if (!type->is_struct || type->is_nullable || !type->row.count) {
    JS_ThrowTypeError(js, "the default export's %s must be an object of columns", what);
    fail_with_exception();
  }
  return type;
}

static void read_operator(void) {
  floe_this.name = text_of("name", NULL);
  floe_this.version = text_of("version", "0.0.0");
  JSValue version = JS_GetPropertyStr(js, operator_object, "stateVersion");
  floe_this.state_version = 1;
  if (!JS_IsUndefined(version)) JS_ToUint32(js, &floe_this.state_version, version);
  input_row = row_of(JS_GetPropertyStr(js, operator_object, "input"), "input");
  floe_this.input = &input_row->row;
  JSValue output = JS_GetPropertyStr(js, operator_object, "output");
  if (!JS_IsUndefined(output)) {
    output_rows[0] = row_of(output, "output");
    floe_this.outputs[0] = (struct floe_output_row){"main", &output_rows[0]->row};
  } else {
    JSValue outputs = JS_GetPropertyStr(js, operator_object, "outputs");
    JSPropertyEnum *names;
    uint32_t count = 0;
    if (!JS_IsObject(outputs) || JS_GetOwnPropertyNames(js, &names, &count, outputs, NAMES) || !count ||
        count > FLOE_OUTPUTS_MAX) {
      JS_ThrowTypeError(js, "the default export must have an output, or 1 to 16 outputs by name");
      fail_with_exception();
    }
    for (uint32_t i = 0; i < count; i++) {
      const char *name = JS_AtomToCString(js, names[i].atom);
      output_rows[i] = row_of(JS_GetProperty(js, outputs, names[i].atom), name);
      floe_this.outputs[i] = (struct floe_output_row){name, &output_rows[i]->row};
    }
  }
  open_function = function_of("open", false);
  process_function = function_of("process", true);
  watermark_function = function_of("watermark", false);
  export_function = function_of("exportState", false);
  import_function = function_of("importState", false);
  floe_this.open = open;
  floe_this.process = process;
  floe_this.watermark = watermark;
}

static void prepare_world(void) {
  JSValue global = JS_GetGlobalObject(js);
  JSValue console = JS_NewObject(js);
  JS_SetPropertyFunctionList(js, console, console_functions, sizeof console_functions / sizeof *console_functions);
  JS_DefinePropertyValueStr(js, global, "console", console, JS_PROP_C_W_E);
  JSValue math = JS_GetPropertyStr(js, global, "Math");
  JS_DefinePropertyValueStr(js, math, "random", JS_NewCFunction(js, host_math_random, "random", 0),
                            JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE);
  JS_FreeValue(js, math);
  JS_FreeValue(js, global);
  JSModuleDef *host = JS_NewCModule(js, "floe", init_host_module);
  JS_AddModuleExportList(js, host, host_functions, sizeof host_functions / sizeof *host_functions);
  emit_function = JS_NewCFunction(js, host_emit, "emit", 2);
}

/* Part of `_initialize`, so before anything else is asked. */
__attribute__((constructor)) static void load(void) {
  runtime = JS_NewRuntime();
  js = runtime ? JS_NewContext(runtime) : NULL;
  if (!js) floe_fail_with("out of memory (limits.memory)");
  prepare_world();
  if (!floe_script.length) floe_fail_with("it holds no script: floe build puts one in");
  JSValue compiled = JS_Eval(js, floe_script.text, floe_script.length, "operator.js",
                             JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
  if (JS_IsException(compiled)) fail_with_exception();
  JSModuleDef *module = (JSModuleDef *)JS_VALUE_GET_PTR(compiled);
  JSValue done = JS_EvalFunction(js, compiled);
  if (JS_IsException(done)) fail_with_exception();
  JSContext *context;
  while (JS_ExecutePendingJob(runtime, &context) > 0) {
  }
  if (JS_IsPromise(done) && JS_PromiseState(js, done) != JS_PROMISE_FULFILLED) {
    if (JS_PromiseState(js, done) == JS_PROMISE_REJECTED) JS_Throw(js, JS_PromiseResult(js, done));
    else JS_ThrowTypeError(js, "the script waits for something that never comes");
    fail_with_exception();
  }
  JS_FreeValue(js, done);
  JSValue names = JS_GetModuleNamespace(js, module);
  operator_object = JS_GetPropertyStr(js, names, "default");
  JS_FreeValue(js, names);
  if (!JS_IsObject(operator_object)) floe_fail_with("the script has no default export: export default { name, input, output, process }");
  read_operator();
}
