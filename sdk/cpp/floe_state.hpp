// The state for other code (A24, A25): told as JSON and taken back. `#define FLOE_STATE` before floe.hpp includes
// this file; README.md, State, says how an operator uses it. It is a layer over ../c/floe_state.h.
#ifndef FLOE_STATE_HPP
#define FLOE_STATE_HPP

#include <map>
#include <set>

namespace floe {

namespace detail {

template <class T>
concept text_like = std::is_convertible_v<const T &, std::string_view>;
template <class T>
concept map_like = text_like<typename T::key_type> && requires { typename T::mapped_type; };
template <class T>
concept unordered = requires { typename T::hasher; };
template <class T>
concept sequence = !text_like<T> && requires(const T &it) { it.begin(); it.end(); };

inline floe_text text_of(std::string_view view) { return {view.data(), view.size()}; }

}  // namespace detail

// JSON that is written: `tell.object("by_merchant", by_merchant, "count", count)`, or one `tell.value(…)`.
class tell {
 public:
  explicit tell(struct floe_tell *to) : to(to) {}

  // Keys and values by turns.
  template <class... Members>
  void object(const Members &...members) {
    floe_tell_object(to);
    pairs(members...);
    floe_tell_end(to);
  }

  // A number, a bool, a text, a container of values (maps by text, in the order of their keys; what is unordered is
  // sorted), or an object that has `void tell(floe::tell &) const`.
  template <class T>
  void value(const T &it) {
    if constexpr (std::is_same_v<T, bool>) {
      floe_tell_bool(to, it);
    } else if constexpr (std::is_integral_v<T>) {
      static_assert(sizeof(T) < 8 || std::is_signed_v<T>, "a number up to 2^63 - 1");
      floe_tell_long(to, it);
    } else if constexpr (std::is_floating_point_v<T>) {
      floe_tell_double(to, it);
    } else if constexpr (detail::text_like<T>) {
      floe_tell_text(to, detail::text_of(it));
    } else if constexpr (detail::map_like<T>) {
      std::map<std::string_view, const typename T::mapped_type *> sorted;
      for (const auto &[key, value] : it) sorted.emplace(key, &value);
      floe_tell_object(to);
      for (const auto &[key, value] : sorted) {
        floe_tell_key_text(to, detail::text_of(key));
        this->value(*value);
      }
      floe_tell_end(to);
    } else if constexpr (detail::unordered<T>) {
      value(std::set<typename T::key_type>(it.begin(), it.end()));
    } else if constexpr (detail::sequence<T>) {
      floe_tell_list(to);
      for (const auto &item : it) value(item);
      floe_tell_end(to);
    } else {
      it.tell(*this);
    }
  }

 private:
  struct floe_tell *to;

  void pairs() {}
  template <class T, class... Rest>
  void pairs(const char *key, const T &it, const Rest &...rest) {
    floe_tell_key(to, key);
    value(it);
    pairs(rest...);
  }
};

// A value of JSON that is read, in `import_state` only.
class told {
 public:
  explicit told(floe_told of) : of(of) {}

  // An object's value of this key; false where there is none.
  template <class T>
  bool member(const char *key, T &into) const {
    const told found(floe_told_member(of, key));
    if (found.of.at) found.read(into);
    return found.of.at != nullptr;
  }

  // As `tell::value` told it, into a value that is as at the start. An object has `void take(const floe::told &)`.
  template <class T>
  void read(T &into) const {
    if constexpr (std::is_same_v<T, bool>) {
      into = floe_told_bool(of);
    } else if constexpr (std::is_integral_v<T>) {
      into = static_cast<T>(floe_told_long(of));
    } else if constexpr (std::is_floating_point_v<T>) {
      into = static_cast<T>(floe_told_double(of));
    } else if constexpr (std::is_same_v<T, std::string>) {
      into = owned(floe_told_text(of));
    } else if constexpr (detail::map_like<T>) {
      each([&](std::string &&key, const told &value) { value.read(into[std::move(key)]); });
    } else if constexpr (detail::sequence<T>) {
      each([&](std::string &&, const told &value) {
        typename T::value_type item{};
        value.read(item);
        into.insert(into.end(), std::move(item));
      });
    } else {
      into.take(*this);
    }
  }

 private:
  floe_told of;

  static std::string owned(floe_text text) {
    std::string copy(text.bytes, text.length);
    free(const_cast<char *>(text.bytes));
    return copy;
  }

  template <class Take>
  void each(Take take) const {
    struct floe_told_walk walk = floe_told_walk(of);
    while (floe_told_next(&walk)) take(walk.is_object ? owned(walk.key) : std::string(), told(walk.value));
  }
};

}  // namespace floe

#endif  // FLOE_STATE_HPP
