// floe operators in C++20: rows are structs, state is the fields of a class, and one function takes a row and
// emits rows. README.md has the chapters. It is a layer over ../c/floe.h, which turns columns into rows and
// back, and like it for one source file of a module: it defines the module's exports.
#ifndef FLOE_HPP
#define FLOE_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "../c/floe.h"
#ifdef FLOE_STATE
#include "floe_state.hpp"
#endif

namespace floe {

// ---- Types that C++ itself has none for. ----

// UTF-8. What a row holds lies in the input and is gone when `process` returns: copy what you keep, as
// std::string(click.id).
struct text {
  const char *bytes = "";
  std::size_t length = 0;

  constexpr text() = default;
  constexpr text(std::string_view view) : bytes(view.data()), length(view.size()) {}
  constexpr text(const char *zero_ended) : text(std::string_view(zero_ended)) {}
  text(const std::string &string) : text(std::string_view(string)) {}

  constexpr std::string_view view() const { return {bytes, length}; }
  constexpr operator std::string_view() const { return view(); }
  constexpr bool empty() const { return length == 0; }
  friend constexpr bool operator==(text a, text b) { return a.view() == b.view(); }
};

struct binary {
  const std::uint8_t *bytes = nullptr;
  std::size_t length = 0;

  constexpr binary() = default;
  constexpr binary(std::span<const std::uint8_t> span) : bytes(span.data()), length(span.size()) {}
  constexpr std::span<const std::uint8_t> span() const { return {bytes, length}; }
};

using date = floe_date;      // .days since 1970-01-01
using time = floe_time;      // .micros since midnight
using millis = floe_millis;  // .ms since 1970, UTC
using micros = floe_micros;  // .micros
using nanos = floe_nanos;    // .nanos

// `unscaled` times ten to the power of minus `Scale`.
template <int Precision, int Scale>
struct decimal {
  std::uint64_t low = 0;
  std::int64_t high = 0;

  constexpr decimal() = default;
  constexpr explicit decimal(__int128 unscaled)
      : low(static_cast<std::uint64_t>(unscaled)), high(static_cast<std::int64_t>(unscaled >> 64)) {}
  constexpr __int128 unscaled() const { return static_cast<__int128>(high) << 64 | low; }
};

// A value that may be null.
template <class T>
struct opt {
  T value{};
  bool has = false;

  constexpr opt() = default;
  constexpr opt(std::nullopt_t) {}
  constexpr opt(T of) : value(of), has(true) {}

  constexpr explicit operator bool() const { return has; }
  constexpr const T &operator*() const { return value; }
  constexpr const T *operator->() const { return &value; }
  constexpr T value_or(T otherwise) const { return has ? value : otherwise; }
};

// It borrows its items: in the input, or in a vector that lives until the row is emitted.
template <class T>
struct list {
  const T *items = nullptr;
  std::size_t count = 0;

  constexpr list() = default;
  constexpr list(std::span<const T> span) : items(span.data()), count(span.size()) {}
  list(const std::vector<T> &vector) : items(vector.data()), count(vector.size()) {}

  constexpr std::size_t size() const { return count; }
  constexpr const T *begin() const { return items; }
  constexpr const T *end() const { return items + count; }
  constexpr const T &operator[](std::size_t index) const { return items[index]; }
};

// What floe.h reads and writes behind these pointers is its own structs.
static_assert(sizeof(text) == sizeof(floe_text) && offsetof(text, length) == offsetof(floe_text, length));
static_assert(sizeof(binary) == sizeof(floe_binary));
static_assert(sizeof(decimal<1, 0>) == sizeof(floe_decimal));
static_assert(sizeof(list<text>) == sizeof(floe_list) && offsetof(list<text>, count) == offsetof(floe_list, count));

// ---- Rows: which member of a struct is which column. ----

// FLOE_ROW(Click, FLOE_COLUMN(id), FLOE_NAMED(at, "_timestamp")); stands at the top level of a file.
template <class T>
struct columns_of;

#define FLOE_ROW(type, ...)                                                                            \
  template <>                                                                                          \
  struct floe::columns_of<type> {                                                                      \
    using Row = type;                                                                                  \
    static constexpr ::floe_field fields[] = {__VA_ARGS__};                                            \
    static constexpr ::floe_row row = {fields, std::size(fields), sizeof(type)};                       \
  }
#define FLOE_NAMED(member, column)                                                                     \
  ::floe::detail::type_of<decltype(Row::member)>::field(column, offsetof(Row, member))
#define FLOE_COLUMN(member) FLOE_NAMED(member, #member)

namespace detail {

constexpr ::floe_field plain(const char *name, const char *format, ::floe_kind kind, std::size_t width,
                             std::size_t offset, const ::floe_row *row = nullptr) {
  return {name, format, kind, static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(offset), FLOE_REQUIRED,
          row};
}

constexpr std::array<char, 16> numbered(std::string_view begin, int first, int second) {
  std::array<char, 16> format{};
  std::size_t at = 0;
  for (char letter : begin) format[at++] = letter;
  auto number = [&](int value) {
    std::array<char, 8> digits{};
    std::size_t count = 0;
    do digits[count++] = static_cast<char>('0' + value % 10);
    while (value /= 10);
    while (count) format[at++] = digits[--count];
  };
  number(first);
  if (second >= 0) {
    format[at++] = ',';
    number(second);
  }
  return format;
}

template <class T>
constexpr const char *plain_format() {
  if constexpr (std::is_same_v<T, bool>) return "b";
  else if constexpr (std::is_same_v<T, std::int8_t>) return "c";
  else if constexpr (std::is_same_v<T, std::int16_t>) return "s";
  else if constexpr (std::is_same_v<T, std::int32_t>) return "i";
  else if constexpr (std::is_same_v<T, std::int64_t>) return "l";
  else if constexpr (std::is_same_v<T, std::uint8_t>) return "C";
  else if constexpr (std::is_same_v<T, std::uint16_t>) return "S";
  else if constexpr (std::is_same_v<T, std::uint32_t>) return "I";
  else if constexpr (std::is_same_v<T, std::uint64_t>) return "L";
  else if constexpr (std::is_same_v<T, float>) return "f";
  else if constexpr (std::is_same_v<T, double>) return "g";
  else if constexpr (std::is_same_v<T, text>) return "u";
  else if constexpr (std::is_same_v<T, binary>) return "z";
  else if constexpr (std::is_same_v<T, date>) return "tdD";
  else if constexpr (std::is_same_v<T, time>) return "ttu";
  else if constexpr (std::is_same_v<T, millis>) return "tsm:UTC";
  else if constexpr (std::is_same_v<T, micros>) return "tsu:UTC";
  else if constexpr (std::is_same_v<T, nanos>) return "tsn:UTC";
  else return nullptr;
}

// Of a type with columns of its own: a struct within a row.
template <class T>
struct type_of {
  static constexpr ::floe_field field(const char *name, std::size_t offset) {
    if constexpr (plain_format<T>() != nullptr) {
      constexpr bool is_bytes = std::is_same_v<T, text> || std::is_same_v<T, binary>;
      constexpr ::floe_kind kind = std::is_same_v<T, bool> ? FLOE_BOOL : is_bytes ? FLOE_BYTES : FLOE_PLAIN;
      return plain(name, plain_format<T>(), kind, sizeof(T), offset);
    } else {
      return plain(name, "+s", FLOE_STRUCTS, 0, offset, &columns_of<T>::row);
    }
  }
};

template <int Precision, int Scale>
struct type_of<decimal<Precision, Scale>> {
  static constexpr auto format = numbered("d:", Precision, Scale);
  static constexpr ::floe_field field(const char *name, std::size_t offset) {
    return plain(name, format.data(), FLOE_PLAIN, 16, offset);
  }
};

template <std::size_t Bytes>
struct type_of<std::array<std::uint8_t, Bytes>> {
  static constexpr auto format = numbered("w:", static_cast<int>(Bytes), -1);
  static constexpr ::floe_field field(const char *name, std::size_t offset) {
    return plain(name, format.data(), FLOE_PLAIN, Bytes, offset);
  }
};

template <class T>
struct type_of<opt<T>> {
  static constexpr ::floe_field field(const char *name, std::size_t offset) {
    ::floe_field field = type_of<T>::field(name, offset + offsetof(opt<T>, value));
    field.has_offset = static_cast<std::uint32_t>(offset + offsetof(opt<T>, has));
    return field;
  }
};

template <class T>
struct type_of<list<T>> {
  static constexpr ::floe_field item[] = {type_of<T>::field("item", 0)};
  static constexpr ::floe_row row = {item, 1, sizeof(T)};
  static constexpr ::floe_field field(const char *name, std::size_t offset) {
    return plain(name, "+l", FLOE_LISTS, 0, offset, &row);
  }
};

}  // namespace detail

// ---- What the host offers. ----

// The row that is processed is not taken; what was emitted for it is taken back. Return after it.
inline void reject(const std::string &reason) { floe_reject_row(reason.c_str()); }
// Ends the call: the pipeline stops with this message.
[[noreturn]] inline void fail(std::string_view message) {
  floe_fail(message.data(), static_cast<std::uint32_t>(message.size()));
}
// The virtual time in ms, and 64 bits from the seed in the checkpoint.
inline std::int64_t now() { return floe_now(); }
inline std::uint64_t random() { return floe_random(); }
// FLOE_LOG_ERROR, FLOE_LOG_WARN, FLOE_LOG_INFO, FLOE_LOG_DEBUG.
inline void log(std::uint32_t level, const std::string &line) { floe_log_line(level, line.c_str()); }

// Where rows go; `emit<1>(row)` is the second output. What a row points to is copied.
template <class... Rows>
struct outputs {
  template <std::size_t Output = 0>
  void emit(const std::tuple_element_t<Output, std::tuple<Rows...>> &row) const {
    floe_emit_to(Output, &row);
  }
};

// The configuration. A key that nobody asks for is refused.
struct config {
  // A whole number, a bool, or a text as std::string.
  template <class T>
  T get(const char *key, T otherwise) const {
    if constexpr (std::is_same_v<T, bool>) {
      return floe_config_bool(key, otherwise);
    } else if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(floe_config_long(key, otherwise));
    } else {
      return text(key).value_or(otherwise);
    }
  }

  std::optional<std::string> text(const char *key) const {
    floe_text value;
    if (!floe_config_text(key, &value)) return std::nullopt;
    return std::string(value.bytes, value.length);
  }
};

// ---- The operator. ----

struct about {
  const char *name;
  const char *version;
  std::uint32_t state_version = 1;  // another one when the fields mean something else
  std::array<const char *, FLOE_OUTPUTS_MAX> outputs = {"main"};
};

namespace detail {

template <class Operator>
struct running {
  static inline Operator *instance = nullptr;
  static constexpr typename Operator::Outputs out{};

  static void open() {
    instance = new Operator();
    if constexpr (requires { instance->open(config{}); }) instance->open(config{});
  }
  static void process(const void *row) {
    instance->process(*static_cast<const typename Operator::Input *>(row), out);
  }
  static void watermark(std::int64_t event_time_ms) {
    if constexpr (requires { instance->watermark(event_time_ms, out); }) instance->watermark(event_time_ms, out);
  }
#ifdef FLOE_STATE
  static void export_state(struct floe_tell *to) {
    floe::tell tell(to);
    std::as_const(*instance).export_state(tell);
  }
  static bool import_state(std::uint32_t version, floe_told of) { return instance->import_state(version, told(of)); }
#endif
};

template <class Operator, class... Rows>
constexpr ::floe_operator made(const about &about, outputs<Rows...>) {
  ::floe_operator made{};
  made.name = about.name;
  made.version = about.version;
  made.state_version = about.state_version;
  made.input = &columns_of<typename Operator::Input>::row;
  std::size_t output = 0;
  ((made.outputs[output] = {about.outputs[output], &columns_of<Rows>::row}, output++), ...);
  made.open = running<Operator>::open;
  made.process = running<Operator>::process;
  made.watermark = running<Operator>::watermark;
#ifdef FLOE_STATE
  made.export_state = running<Operator>::export_state;
  made.import_state = running<Operator>::import_state;
#endif
  return made;
}

}  // namespace detail
}  // namespace floe

// FLOE_OPERATOR(Dedup, .name = "dedup", .version = "1.0.0"); stands once in a module.
#undef FLOE_OPERATOR
#define FLOE_OPERATOR(type, ...)                                                                       \
  constinit const ::floe_operator floe_this =                                                          \
      ::floe::detail::made<type>(::floe::about{__VA_ARGS__}, type::Outputs{})

#endif  // FLOE_HPP
