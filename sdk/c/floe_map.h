/* A map from texts to 64-bit numbers, for state: open addressing, keys in one arena. */
#ifndef FLOE_MAP_H
#define FLOE_MAP_H

struct floe_map_entry { uint32_t hash, key_at, key_length; int64_t value; };

/* Zeroed is empty. `entries[0..count]` are in the order of their first use, until something is removed. */
struct floe_map {
  struct floe_map_entry *entries;
  uint32_t count, capacity;
  uint32_t *slots; /* index + 1 of an entry */
  uint32_t slot_count;
  struct floe_bytes keys;
};

static inline uint32_t floe_hash(floe_text text) {
  uint64_t hash = 0x9e3779b97f4a7c15u ^ text.length;
  const char *at = text.bytes, *end = text.bytes + text.length;
  for (uint64_t word; at + 8 <= end; at += 8) {
    memcpy(&word, at, 8);
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  }
  uint64_t rest = 0;
  for (int shift = 0; at < end; at++, shift += 8) rest |= (uint64_t)(uint8_t)*at << shift;
  hash = (hash ^ rest) * 0xc4ceb9fe1a85ec53u;
  return (uint32_t)(hash ^ hash >> 32);
}

static inline floe_text floe_map_key(const struct floe_map *map, uint32_t entry) {
  floe_text key = {(const char *)map->keys.at + map->entries[entry].key_at, map->entries[entry].key_length};
  return key;
}

static void floe_map_index(struct floe_map *map) {
  memset(map->slots, 0, map->slot_count * sizeof *map->slots);
  for (uint32_t i = 0; i < map->count; i++) {
    uint32_t slot = map->entries[i].hash & (map->slot_count - 1);
    while (map->slots[slot]) slot = (slot + 1) & (map->slot_count - 1);
    map->slots[slot] = i + 1;
  }
}

static void floe_map_grow(struct floe_map *map) {
  uint32_t capacity = map->capacity ? map->capacity * 2 : 64;
  map->entries = (struct floe_map_entry *)realloc(map->entries, capacity * sizeof *map->entries);
  free(map->slots);
  map->slots = (uint32_t *)floe_allocate(capacity * 2 * sizeof *map->slots);
  if (!map->entries) floe_fail_with("out of memory (limits.memory)");
  map->capacity = capacity;
  map->slot_count = capacity * 2;
  floe_map_index(map);
}

/* The value of a key, 0 where it is new; the key is copied. `is_new` may be 0. The pointer is good until
 * the next call. */
static int64_t *floe_map_at(struct floe_map *map, floe_text key, bool *is_new) __attribute__((unused));
static int64_t *floe_map_at(struct floe_map *map, floe_text key, bool *is_new) {
  if (map->count == map->capacity) floe_map_grow(map);
  uint32_t hash = floe_hash(key), slot = hash & (map->slot_count - 1);
  for (; map->slots[slot]; slot = (slot + 1) & (map->slot_count - 1)) {
    uint32_t entry = map->slots[slot] - 1;
    if (map->entries[entry].hash == hash && floe_text_equal(floe_map_key(map, entry), key)) {
      if (is_new) *is_new = false;
      return &map->entries[entry].value;
    }
  }
  struct floe_map_entry entry = {hash, (uint32_t)map->keys.length, (uint32_t)key.length, 0};
  if (key.length) memcpy(floe_grow(&map->keys, key.length), key.bytes, key.length);
  map->entries[map->count] = entry;
  map->slots[slot] = ++map->count;
  if (is_new) *is_new = true;
  return &map->entries[map->count - 1].value;
}

/* Forgets all keys whose value is below `value`; gives their number. It takes time in all keys. */
static uint32_t floe_map_remove_below(struct floe_map *map, int64_t value) __attribute__((unused));
static uint32_t floe_map_remove_below(struct floe_map *map, int64_t value) {
  uint32_t kept = 0, before = map->count;
  size_t key_at = 0;
  for (uint32_t i = 0; i < before; i++) {
    struct floe_map_entry entry = map->entries[i];
    if (entry.value < value) continue;
    memmove(map->keys.at + key_at, map->keys.at + entry.key_at, entry.key_length);
    entry.key_at = (uint32_t)key_at;
    key_at += entry.key_length;
    map->entries[kept++] = entry;
  }
  map->count = kept;
  map->keys.length = key_at;
  if (before != kept) floe_map_index(map);
  return before - kept;
}

#endif /* FLOE_MAP_H */
