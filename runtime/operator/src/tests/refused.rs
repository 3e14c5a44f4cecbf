use super::wat_module::{RUNNING_SUM, engine, limits, module};

fn refusal(text: &str) -> String {
    match engine().load("bad.wat", text.as_bytes(), &limits()) {
        Ok(_) => panic!("it was loaded:\n{text}"),
        Err(error) => error.message,
    }
}

#[test]
fn each_construct_that_cannot_be_captured_is_named() {
    let table = "(global $total (mut i64) (i64.const 0)) (table 2 funcref) (elem $e func $f) (data $d \"x\")";
    let cases = [
        ("(func $f (table.set (i32.const 0) (ref.null func)))", "table.set"),
        ("(func $f (drop (table.grow (ref.null func) (i32.const 1))))", "table.grow"),
        ("(func $f (table.fill (i32.const 0) (ref.null func) (i32.const 1)))", "table.fill"),
        ("(func $f (table.copy (i32.const 0) (i32.const 0) (i32.const 1)))", "table.copy"),
        ("(func $f (table.init $e (i32.const 0) (i32.const 0) (i32.const 1)))", "table.init"),
        ("(func $f (elem.drop $e))", "elem.drop"),
        ("(func $f (data.drop $d))", "data.drop"),
        ("(func $f (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1)))", "memory.init"),
    ];
    for (function, construct) in cases {
        let message = refusal(&module(RUNNING_SUM, &format!("{table} {function}")));
        assert!(message.contains(construct), "{construct}: {message}");
        assert!(message.contains("(f)"), "the function is named: {message}");
    }
}

#[test]
fn what_is_not_deterministic_or_not_an_operator_is_named() {
    let total = "(global $total (mut i64) (i64.const 0))";
    let with = |more: &str| module(RUNNING_SUM, &format!("{total} {more}"));
    let imported = |import: &str| with("").replacen("(module", &format!("(module {import}"), 1);
    let cases = [
        ("(module)".to_owned(), "no memory"),
        ("(module (memory (export \"memory\") 1))".to_owned(), "floe_v1_describe"),
        ("this is no module".to_owned(), "not WebAssembly"),
        (with("").replace("\"floe_v1\" \"now\"", "\"env\" \"now\""), "env.now"),
        (with("").replace("floe_v1", "floe_v2"), "another version of the ABI"),
        (
            with("").replace(
                "(memory (export \"memory\") 3)",
                "(memory (export \"memory\") 3) (memory 1)",
            ),
            "memories",
        ),
        (
            with("").replace(
                "(memory (export \"memory\") 3)",
                "(memory (export \"memory\") 3 4 shared)",
            ),
            "shared",
        ),
        (
            with("")
                .replace("(memory (export \"memory\") 3)", "(memory (export \"memory\") i64 3)"),
            "64-bit",
        ),
        (
            with(
                "(func (drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0))))",
            ),
            "relaxed",
        ),
        (with("(tag $t)"), "exceptions"),
        (with("(func (drop (i32.atomic.load (i32.const 0))))"), "threads"),
        (with("(type (array i32))"), "gc"),
        (with("(func (export \"floe:start\"))"), "floe's own"),
        (
            with("(func (export \"floe_v1_watermark\") (param i32) (result i32) i32.const 0)"),
            "floe_v1_watermark",
        ),
        (with("(func (export \"floe_v1_export_state\"))"), "floe_v1_export_state"),
        (with("(func (export \"_initialize\") (result i32) i32.const 0)"), "_initialize"),
        (imported("(import \"floe_v1\" \"now2\" (func))"), "floe_v1.now2"),
        (imported("(import \"floe_v1\" \"log\" (func (param i64)))"), "log"),
        (imported("(import \"wasi_snapshot_preview1\" \"fd_write\" (func))"), "fd_write"),
        (imported("(import \"wasi_snapshot_preview1\" \"sock_open\" (func))"), "sock_open"),
        (imported("(import \"floe_v1\" \"t\" (table 1 funcref))"), "imports a table"),
        (imported("(import \"floe_v1\" \"g\" (global i32))"), "imports a global"),
        (
            imported("(import \"floe_v1\" \"m\" (memory 1))")
                .replace("(memory (export \"memory\") 3)", "(export \"memory\" (memory 0))"),
            "imports its memory",
        ),
        (with("(global (mut funcref) (ref.null func))"), "mutable reference"),
        (
            with("").replace(
                "(param i32 i32) (result i32) i32.const 0)",
                "(param i32) (result i32) i32.const 0)",
            ),
            "floe_v1_open",
        ),
        (with("").replace("\"l\\00\"", "\"q\\00\""), "\"q\" is not accepted"),
        (
            with("").replace(
                "(func (export \"floe_v1_describe\") (result i32) i32.const 0x400)",
                "(func (export \"floe_v1_describe\") (result i32) i32.const -4)",
            ),
            "outside of the guest's memory",
        ),
    ];
    for (text, expected) in cases {
        let message = refusal(&text);
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(message.contains("bad.wat"), "{message}");
    }
}

#[test]
fn a_module_over_its_size_is_refused_before_it_is_read() {
    let limits = crate::Limits { module_bytes: 10, ..limits() };
    let error = engine().load("big.wat", &[0; 11], &limits).err().expect("it is refused");
    assert!(error.message.contains("limits.module-size"), "{error}");
}
