//! `cargo xtask`: sets up what the project's own work needs, and does it. One file per command.

mod bench;
mod bench_languages;
mod build;
mod children;
mod components;
mod demo;
mod fuzz;
mod guests;
mod languages;
mod soak;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask COMMAND

  demo                       build everything, then show the promise: kills, and a table right to the row
  test [FILTER]              build everything, start Kafka, REST catalog, S3 and Postgres, run all tests
  guests                     build the WebAssembly operators into target/guest
  bench [NAME] [--json] [--records N]
                             measure; NAME is payments, guarantees, replay, checkpoint or languages
  soak [--records N] [--kills N] [--seeds N]
                             the proof at full size: 400,000 records and 170 kills in each of three places,
                             100,000 seeds, outages of a minute; writes target/soak.md
  soak day                   86,400 commits and the upkeep of their table
  fuzz [TARGET] [--seconds N]
                             mutated inputs for every decoder, a minute each; targets as in tests/it/fuzz, as stored::part
  components start|stop      real components to try things with; start prints how to reach them

A component that is missing is said and its tests are skipped; with CI=true in the environment it is an error.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let Err(error) = children::forward_signals() {
        eprintln!("xtask: {error:#}");
        return ExitCode::FAILURE;
    }
    let done = match arguments.split_first() {
        Some((&"demo", rest)) => demo::demo(rest),
        Some((&"test", rest)) => test::test(rest),
        Some((&"guests", [])) => guests::build().and_then(|_| languages::build()),
        Some((&"bench", rest)) => bench::bench(rest),
        Some((&"soak", rest)) => soak::soak(rest),
        Some((&"fuzz", rest)) => fuzz::fuzz(rest),
        Some((&"components", [verb])) => components::command(verb),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
