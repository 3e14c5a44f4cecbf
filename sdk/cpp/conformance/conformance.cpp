// The conformance operator in C++: what it must do is written in sdk/abi/CONFORMANCE.md.
#define FLOE_STATE
#include "../floe.hpp"

#include <chrono>
#include <unordered_map>

using floe::opt;

struct Pair {
  std::int64_t a;
  opt<floe::text> b;
};
FLOE_ROW(Pair, FLOE_COLUMN(a), FLOE_COLUMN(b));

struct Row {
  floe::text command;
  std::int64_t offset = 0;
  opt<bool> boolean;
  opt<std::int8_t> tiny;
  opt<std::int16_t> small;
  opt<std::int32_t> medium;
  opt<std::int64_t> big;
  opt<std::uint8_t> utiny;
  opt<std::uint16_t> usmall;
  opt<std::uint32_t> umedium;
  opt<std::uint64_t> ubig;
  opt<float> single;
  opt<double> twice;
  opt<floe::text> text;
  opt<floe::binary> binary;
  opt<std::array<std::uint8_t, 4>> fixed;
  opt<floe::date> date;
  opt<floe::time> time;
  opt<floe::millis> millis;
  opt<floe::micros> micros;
  opt<floe::nanos> nanos;
  opt<floe::decimal<20, 4>> decimal;
  opt<floe::list<opt<std::int64_t>>> list;
  opt<Pair> pair;
  opt<floe::list<Pair>> pairs;
};
FLOE_ROW(Row, FLOE_NAMED(command, "do"), FLOE_NAMED(offset, "_offset"), FLOE_COLUMN(boolean), FLOE_COLUMN(tiny),
         FLOE_COLUMN(small), FLOE_COLUMN(medium), FLOE_COLUMN(big), FLOE_COLUMN(utiny), FLOE_COLUMN(usmall),
         FLOE_COLUMN(umedium), FLOE_COLUMN(ubig), FLOE_COLUMN(single), FLOE_COLUMN(twice), FLOE_COLUMN(text),
         FLOE_COLUMN(binary), FLOE_COLUMN(fixed), FLOE_COLUMN(date), FLOE_COLUMN(time), FLOE_COLUMN(millis),
         FLOE_COLUMN(micros), FLOE_COLUMN(nanos), FLOE_COLUMN(decimal), FLOE_COLUMN(list), FLOE_COLUMN(pair),
         FLOE_COLUMN(pairs));

struct Second {
  floe::text text;
};
FLOE_ROW(Second, FLOE_COLUMN(text));

struct Conformance {
  using Input = Row;
  using Outputs = floe::outputs<Row, Second>;

  std::string greeting;
  std::unordered_map<std::string, std::int64_t> counts;
  std::vector<std::vector<char>> kept;
  std::int64_t kept_bytes = 0;

  void open(const floe::config &config) {
    greeting = config.get("greeting", std::string());
    if (auto why = config.text("fail")) floe::fail(*why);
  }

  void process(const Row &input, const Outputs &out) {
    Row row = input;
    const std::string_view command = row.command;
    const floe::text text = row.text.value_or({});
    if (command == "echo") {
      out.emit(row);
    } else if (command == "many") {
      for (std::int64_t i = 0; i < *row.big; i++) out.emit(row);
    } else if (command == "second") {
      out.emit<1>({text});
    } else if (command == "reject") {
      out.emit(row);
      floe::reject(std::string(text));
    } else if (command == "fail") {
      floe::fail(text);
    } else if (command == "panic") {
      kept.at(kept.size());
    } else if (command == "log") {
      floe::log(static_cast<std::uint32_t>(*row.medium), std::string(text));
    } else if (command == "now") {
      row.big = floe::now();
      out.emit(row);
    } else if (command == "clock") {
      const auto now = std::chrono::system_clock::now().time_since_epoch();
      row.big = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
      out.emit(row);
    } else if (command == "random") {
      row.ubig = floe::random();
      out.emit(row);
    } else if (command == "keep") {
      row.big = ++counts[std::string(text)];
      out.emit(row);
    } else if (command == "keys") {
      std::string keys;
      for (const auto &[key, count] : counts) keys += (keys.empty() ? "" : ",") + key;
      row.text = floe::text(keys);
      out.emit(row);
    } else if (command == "grow") {
      kept.emplace_back(static_cast<std::size_t>(*row.big), 7);
      kept_bytes += *row.big;
      row.big = kept_bytes;
      out.emit(row);
    } else if (command == "spin") {
      for (volatile int i = 0;; i = i + 1) {
      }
    } else if (command == "config") {
      row.text = floe::text(greeting);
      out.emit(row);
    } else {
      floe::reject("no such command");
    }
  }

  void watermark(std::int64_t time_ms, const Outputs &out) {
    Row row;
    row.command = "watermark";
    row.big = time_ms;
    out.emit(row);
  }

  void export_state(floe::tell &tell) const {
    tell.object("floe:by-key", std::vector<std::string>{"counts"}, "counts", counts);
  }

  bool import_state(std::uint32_t version, const floe::told &told) {
    if (version != 7) return false;
    return told.member("counts", counts);
  }
};
FLOE_OPERATOR(Conformance, .name = "conformance", .version = "1.0.0", .state_version = 7,
              .outputs = {"main", "second"});
