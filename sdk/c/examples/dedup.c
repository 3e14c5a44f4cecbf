/* Drops a click whose id was seen within the window. The ids seen are the state. */
#include "../floe.h"

struct click {
  floe_text id;
  int64_t amount;
  floe_millis at;
};
FLOE_ROW(click_row, struct click, FLOE_FIELD(struct click, id), FLOE_FIELD(struct click, amount),
         FLOE_NAMED(struct click, at, "_timestamp"));

struct first {
  floe_text id;
  int64_t amount;
};
FLOE_ROW(first_row, struct first, FLOE_FIELD(struct first, id), FLOE_FIELD(struct first, amount));

static int64_t window_ms;
static struct floe_map last_seen; /* id → ms */

static void open(void) { window_ms = floe_config_long("window_ms", 3600000); }

static void process(const void *row) {
  const struct click *click = row;
  if (click->id.length == 0) { floe_reject_row("a click has no id"); return; }
  bool is_new;
  int64_t *seen = floe_map_at(&last_seen, click->id, &is_new);
  if (!is_new && click->at.ms - *seen <= window_ms) return;
  *seen = click->at.ms;
  struct first first = {click->id, click->amount};
  floe_emit_row(&first);
}

static void watermark(int64_t time_ms) { floe_map_remove_below(&last_seen, time_ms - window_ms); }

FLOE_OPERATOR(.name = "dedup", .version = "1.0.0", .state_version = 1, .input = &click_row,
              .outputs = {{"main", &first_row}}, .open = open, .process = process, .watermark = watermark);
