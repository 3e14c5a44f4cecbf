;; The operator of the demo's first part: it counts orders, and emits one row a record.
;;
;; Its state is one global. That it is restored after a crash is the whole point, so this is written
;; without an SDK: what stands here is all there is. The contract is sdk/abi/ABI.md.
;;
;;   input   _offset: int64, order_id: utf8
;;   output  _offset is handed on as "offset", order_id as it is, "count": int64
(module
  (import "floe_v1" "emit" (func $emit (param i32 i32)))
  (memory (export "memory") 16)
  (global $count (mut i64) (i64.const 0))

  ;; Where things stand in memory.
  ;;   1024  texts            2048  the description and its schemas, written once by _initialize
  ;;   4096  output arrays    65536 the counts of a batch (65536 × 8 bytes)
  ;;   589824  the input region: all of the memory behind it
  (data (i32.const 1024) "order-counter")
  (data (i32.const 1040) "1\00")
  (data (i32.const 1048) "+s\00")
  (data (i32.const 1052) "l\00")
  (data (i32.const 1056) "u\00")
  (data (i32.const 1060) "_offset\00")
  (data (i32.const 1068) "order_id\00")
  (data (i32.const 1080) "offset\00")
  (data (i32.const 1088) "count\00")
  (data (i32.const 1096) "rows\00")
  (data (i32.const 1104) "\00")

  ;; One ArrowSchema of 48 bytes; none of its columns is nullable.
  (func $schema (param $at i32) (param $format i32) (param $name i32) (param $children i32) (param $count i64)
    (i32.store (local.get $at) (local.get $format))
    (i32.store offset=4 (local.get $at) (local.get $name))
    (i64.store offset=24 (local.get $at) (local.get $count))
    (i32.store offset=32 (local.get $at) (local.get $children)))

  (func (export "_initialize")
    ;; Input: _offset, order_id.
    (call $schema (i32.const 2200) (i32.const 1052) (i32.const 1060) (i32.const 0) (i64.const 0))
    (call $schema (i32.const 2248) (i32.const 1056) (i32.const 1068) (i32.const 0) (i64.const 0))
    (i32.store (i32.const 2100) (i32.const 2200))
    (i32.store (i32.const 2104) (i32.const 2248))
    (call $schema (i32.const 2296) (i32.const 1048) (i32.const 1104) (i32.const 2100) (i64.const 2))
    ;; Output: offset, order_id, count.
    (call $schema (i32.const 2344) (i32.const 1052) (i32.const 1080) (i32.const 0) (i64.const 0))
    (call $schema (i32.const 2392) (i32.const 1052) (i32.const 1088) (i32.const 0) (i64.const 0))
    (i32.store (i32.const 2108) (i32.const 2344))
    (i32.store (i32.const 2112) (i32.const 2248))
    (i32.store (i32.const 2116) (i32.const 2392))
    (call $schema (i32.const 2440) (i32.const 1048) (i32.const 1104) (i32.const 2108) (i64.const 3))
    ;; The one output, then the description.
    (i32.store (i32.const 2120) (i32.const 1096))
    (i32.store (i32.const 2124) (i32.const 4))
    (i32.store (i32.const 2128) (i32.const 2440))
    (i32.store (i32.const 2048) (i32.const 1024))
    (i32.store (i32.const 2052) (i32.const 13))
    (i32.store (i32.const 2056) (i32.const 1040))
    (i32.store (i32.const 2060) (i32.const 1))
    (i32.store (i32.const 2064) (i32.const 1))
    (i32.store (i32.const 2068) (i32.const 2296))
    (i32.store (i32.const 2072) (i32.const 1))
    (i32.store (i32.const 2076) (i32.const 2120)))

  (func (export "floe_v1_describe") (result i32) (i32.const 2048))

  (func (export "floe_v1_open") (param i32 i32) (result i32) (i32.const 0))

  ;; Always the same place; the memory grows until the region is long enough.
  (func (export "floe_v1_input") (param $len i32) (result i32)
    (local $wanted i32)
    (local.set $wanted
      (i32.add (i32.const 1) (i32.shr_u (i32.add (i32.const 589824) (local.get $len)) (i32.const 16))))
    (if (i32.gt_u (local.get $wanted) (memory.size))
      (then
        (if (i32.eq (memory.grow (i32.sub (local.get $wanted) (memory.size))) (i32.const -1))
          (then unreachable))))
    (i32.const 589824))

  (func (export "floe_v1_process") (param $batch i32) (result i32)
    (local $rows i32) (local $row i32) (local $children i32)
    (local.set $rows (i32.wrap_i64 (i64.load (local.get $batch))))
    (local.set $children (i32.load offset=44 (local.get $batch)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $row) (local.get $rows)))
        (global.set $count (i64.add (global.get $count) (i64.const 1)))
        (i64.store offset=65536 (i32.shl (local.get $row) (i32.const 3)) (global.get $count))
        (local.set $row (i32.add (local.get $row) (i32.const 1)))
        (br $next)))
    ;; The column of counts: no validity buffer, one data buffer.
    (i64.store (i32.const 4096) (i64.load (local.get $batch)))
    (i64.store offset=24 (i32.const 4096) (i64.const 2))
    (i32.store offset=40 (i32.const 4096) (i32.const 4240))
    (i32.store (i32.const 4244) (i32.const 65536))
    ;; The batch: two columns of the input as they are, and the counts.
    (i64.store (i32.const 4160) (i64.load (local.get $batch)))
    (i64.store offset=24 (i32.const 4160) (i64.const 1))
    (i64.store offset=32 (i32.const 4160) (i64.const 3))
    (i32.store offset=40 (i32.const 4160) (i32.const 4248))
    (i32.store offset=44 (i32.const 4160) (i32.const 4256))
    (i32.store (i32.const 4256) (i32.load (local.get $children)))
    (i32.store (i32.const 4260) (i32.load offset=4 (local.get $children)))
    (i32.store (i32.const 4264) (i32.const 4096))
    (call $emit (i32.const 0) (i32.const 4160))
    (i32.const 0)))
