// Drops a click whose id was seen within the window. The ids seen are the state.
#include "../floe.hpp"

#include <unordered_map>

struct Click {
  floe::text id;
  std::int64_t amount;
  floe::millis at;
};
FLOE_ROW(Click, FLOE_COLUMN(id), FLOE_COLUMN(amount), FLOE_NAMED(at, "_timestamp"));

struct First {
  floe::text id;
  std::int64_t amount;
};
FLOE_ROW(First, FLOE_COLUMN(id), FLOE_COLUMN(amount));

struct Dedup {
  using Input = Click;
  using Outputs = floe::outputs<First>;

  std::int64_t window_ms;
  std::unordered_map<std::string, std::int64_t> last_seen;

  void open(const floe::config &config) { window_ms = config.get("window_ms", std::int64_t{3'600'000}); }

  void process(const Click &click, const Outputs &out) {
    if (click.id.empty()) return floe::reject("a click has no id");
    auto [seen, is_new] = last_seen.try_emplace(std::string(click.id), click.at.ms);
    if (!is_new && click.at.ms - seen->second <= window_ms) return;
    seen->second = click.at.ms;
    out.emit({click.id, click.amount});
  }

  void watermark(std::int64_t time_ms, const Outputs &) {
    std::erase_if(last_seen, [&](const auto &it) { return it.second < time_ms - window_ms; });
  }
};
FLOE_OPERATOR(Dedup, .name = "dedup", .version = "1.0.0");
