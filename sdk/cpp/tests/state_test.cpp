// c++ -std=c++20 -o state_test state_test.cpp && ./state_test
#define FLOE_STATE
#include "../floe.hpp"

#include "../../c/floe_test.h"

#include <unordered_map>
#include <unordered_set>

struct Seen {
  floe::text id;
};
FLOE_ROW(Seen, FLOE_COLUMN(id));

struct Count {
  std::int64_t seen = 0;
  double rate = 0;

  void tell(floe::tell &tell) const { tell.object("seen", seen, "rate", rate); }
  void take(const floe::told &told) {
    told.member("seen", seen);
    told.member("rate", rate);
  }
};

struct Counts {
  using Input = Seen;
  using Outputs = floe::outputs<Seen>;

  std::unordered_map<std::string, Count> by_id;
  std::unordered_set<std::string> ids;
  std::vector<std::int8_t> list;
  bool is_on = false;
  std::int64_t added_later = 5;

  void process(const Seen &row, const Outputs &) {
    by_id[std::string(row.id)].seen++;
    ids.insert(std::string(row.id));
    list.push_back(static_cast<std::int8_t>(-ids.size()));
    is_on = true;
  }

  void export_state(floe::tell &tell) const { tell.object("by_id", by_id, "ids", ids, "list", list, "on", is_on); }

  bool import_state(std::uint32_t version, const floe::told &told) {
    if (version != 2) return false;
    told.member("by_id", by_id);
    told.member("ids", ids);
    told.member("list", list);
    told.member("on", is_on);
    FLOE_CHECK(!told.member("later", added_later));
    return true;
  }
};
FLOE_OPERATOR(Counts, .name = "counts", .version = "1.0.0", .state_version = 2);

int main() {
  floe_test_open("{}");
  const Seen rows[] = {{"b"}, {"a\""}, {"b"}, {""}};
  floe_test_process(rows, 4);
  const std::string_view expected =
      R"({"by_id":{"":{"seen":1,"rate":0},"a\"":{"seen":1,"rate":0},"b":{"seen":2,"rate":0}},)"
      R"("ids":["","a\"","b"],"list":[-1,-2,-2,-3],"on":true})";
  const struct floe_state told = *floe_export_state();
  FLOE_CHECK(told.version == 2 && std::string_view(told.text, told.text_len) == expected);
  floe_test_open("{}");
  FLOE_CHECK(floe_import_state(&told, 1) == 0);
  const Counts &counts = *floe::detail::running<Counts>::instance;
  FLOE_CHECK(counts.by_id.at("b").seen == 2 && counts.list.back() == -3 && counts.is_on && counts.added_later == 5);
  const struct floe_state again = *floe_export_state();
  FLOE_CHECK(std::string_view(again.text, again.text_len) == expected);
  std::puts("1 passed, 0 failed");
}
