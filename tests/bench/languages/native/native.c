/* An operator in C or C++ natively: its source with the SDK as it is, and the bench in the host's place.
 *
 *   zig cc -O3 -shared -fPIC -fvisibility=hidden -DOPERATOR='"raw.c"' -I../c -o c_raw.so native.c
 */
#include OPERATOR

#ifdef __cplusplus
extern "C" {
#endif

static void (*on_emit)(uint32_t output, const struct ArrowArray *rows);

/* Rows are looked at where they are, and not copied. */
void floe_emit(uint32_t output, struct ArrowArray *rows) { on_emit(output, rows); }
void floe_reject(uint32_t row, const char *reason, uint32_t length) { (void)row, (void)reason, (void)length; abort(); }
void floe_log(uint32_t level, const char *text, uint32_t length) { (void)level, (void)text, (void)length; }
int64_t floe_now(void) { return 0; }
uint64_t floe_random(void) { return 0; }
void floe_fail(const char *text, uint32_t length) { (void)text, (void)length; abort(); }

__attribute__((visibility("default"))) void bench_open(void (*emit)(uint32_t, const struct ArrowArray *)) {
  on_emit = emit;
  floe_open("{}", 2);
}

__attribute__((visibility("default"))) int32_t bench_process(const struct ArrowArray *batch) {
  return floe_process(batch);
}

#ifdef __cplusplus
}
#endif
