;; A running sum in 60 lines of text: the whole ABI without a language, a library or an allocator.
;; Input: a column `v` of longs. Output: a column `sum` of longs, the sum of all `v` so far.
;; The layouts are those of ABI.md (A5, A6, A11); numbers are little-endian, pointers are addresses in memory.
(module
  (import "floe_v1" "emit" (func $emit (param i32 i32)))
  (memory (export "memory") 18)

  ;; The state: a global that nobody exports. It is captured and restored like memory (A21).
  (global $total (mut i64) (i64.const 0))

  ;; Texts, each with a zero behind it.
  (data (i32.const 0x100) "+s\00")    ;; format of a struct
  (data (i32.const 0x104) "l\00")     ;; format of int64
  (data (i32.const 0x108) "v\00")
  (data (i32.const 0x10c) "sum\00")   ;; name of the operator, its output and its column
  (data (i32.const 0x110) "1.0.0\00") ;; version

  ;; ArrowSchema of the input, 48 bytes: format, name, metadata, flags, n_children, children, …
  (data (i32.const 0x200) "\00\01\00\00\02\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\30\02\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
  (data (i32.const 0x230) "\40\02\00\00") ;; its children
  (data (i32.const 0x240) "\04\01\00\00\08\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
  ;; ArrowSchema of the output, likewise.
  (data (i32.const 0x280) "\00\01\00\00\02\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\b0\02\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
  (data (i32.const 0x2b0) "\c0\02\00\00")
  (data (i32.const 0x2c0) "\04\01\00\00\0c\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
  ;; floe_output: name, its length, schema. floe_description: name, version, state version, input, outputs.
  (data (i32.const 0x300) "\0c\01\00\00\03\00\00\00\80\02\00\00")
  (data (i32.const 0x320) "\0c\01\00\00\03\00\00\00\10\01\00\00\05\00\00\00\01\00\00\00\00\02\00\00\01\00\00\00\00\03\00\00")

  ;; ArrowArray of the output, 64 bytes: length, null_count, offset, n_buffers, n_children, buffers, children, …
  (data (i32.const 0x400) "\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\80\04\00\00\84\04\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
  (data (i32.const 0x440) "\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\02\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\88\04\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
  ;; Its buffers (no validity), its child, the child's buffers (no validity, the sums at 0x10000).
  (data (i32.const 0x480) "\00\00\00\00\40\04\00\00\00\00\00\00\00\00\01\00")

  (func (export "floe_v1_describe") (result i32) i32.const 0x320)

  ;; The input region: from 0x90000 on, as long as the host asks. A batch has 65,536 rows at most.
  (func (export "floe_v1_input") (param $bytes i32) (result i32)
    (local $missing i32)
    (local.set $missing (i32.sub (i32.add (local.get $bytes) (i32.const 0x90000))
      (i32.shl (memory.size) (i32.const 16))))
    (if (i32.gt_s (local.get $missing) (i32.const 0)) (then
      (drop (memory.grow (i32.shr_u (i32.add (local.get $missing) (i32.const 65535)) (i32.const 16))))))
    i32.const 0x90000)

  (func (export "floe_v1_open") (param i32 i32) (result i32) i32.const 0)

  (func (export "floe_v1_process") (param $array i32) (result i32)
    (local $rows i32) (local $row i32) (local $values i32)
    (local.set $rows (i32.wrap_i64 (i64.load (local.get $array))))
    ;; The first child's second buffer.
    (local.set $values (i32.load offset=4 (i32.load offset=40 (i32.load (i32.load offset=44 (local.get $array))))))
    (loop $next
      (global.set $total (i64.add (global.get $total)
        (i64.load (i32.add (local.get $values) (i32.shl (local.get $row) (i32.const 3))))))
      (i64.store offset=0x10000 (i32.shl (local.get $row) (i32.const 3)) (global.get $total))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $row) (local.get $rows))))
    (i64.store (i32.const 0x400) (i64.extend_i32_u (local.get $rows)))
    (i64.store (i32.const 0x440) (i64.extend_i32_u (local.get $rows)))
    (call $emit (i32.const 0) (i32.const 0x400))
    i32.const 0))
