//! `floe`: runs pipelines, and shows what they do, keep and left behind.

mod allocator;
mod args;
mod case;
mod command;
mod demo;
mod exit;
mod guarantee;
mod hooks;
mod json_text;
mod load;
mod made_by;
mod logging;
mod replay;
mod plugin;
mod recorded_log;
mod show;
mod signals;
mod telemetry;
mod terminal;
mod wire;

use args::{Args, CheckpointCommand, Command, PluginCommand};
use clap::Parser;

fn main() {
    allocator::in_small_pages();
    exit::end(exit::report(dispatch(Args::parse())))
}

fn dispatch(args: Args) -> anyhow::Result<()> {
    hooks::arm_crash_point()?;
    match args.command {
        Command::Run(args) => command::run::run(args),
        Command::Check(args) => command::check::check(args),
        Command::Publish(args) => command::publish::publish(args),
        Command::Status(args) => command::status::status(args),
        Command::Rows(args) => command::rows::rows(args),
        Command::Align(args) => command::align::align(args),
        Command::Checkpoint { command: CheckpointCommand::List(args) } => {
            command::checkpoint::list(args)
        }
        Command::Checkpoint { command: CheckpointCommand::Show(args) } => {
            command::checkpoint::show(args)
        }
        Command::Replay(args) => command::replay::replay(args),
        Command::Checkpoint { command: CheckpointCommand::Diff(args) } => {
            command::checkpoint_diff::diff(args)
        }
        Command::VerifyDeterminism(args) => command::verify_determinism::verify_determinism(args),
        Command::Verify(args) => command::verify::verify(args),
        Command::Trace(args) => command::trace::trace(args),
        Command::Bisect(args) => command::bisect::bisect(args),
        Command::Record(args) => command::record::record(args),
        Command::Bundle(args) => command::bundle::bundle(args),
        Command::Savepoint(args) => command::savepoint::savepoint(args),
        Command::Sweep(args) => command::sweep::sweep(args),
        Command::State(args) => command::state::state(args),
        Command::Upgrade(args) => command::upgrade::upgrade(args),
        Command::Effects(args) => command::effects::effects(args),
        Command::DeadLetters { command } => command::dead_letters::dead_letters(command),
        Command::Inspect(args) => command::inspect::inspect(args),
        Command::Conformance(args) => command::conformance::conformance(args),
        Command::New(args) => command::new::new(args),
        Command::Build(args) => command::build::build(args),
        Command::Dev(args) => command::dev::dev(args),
        Command::Test(args) => command::test::test(args),
        Command::Plugin { command: PluginCommand::List(args) } => command::plugin::list(args),
        Command::Plugin { command: PluginCommand::Describe(args) } => {
            command::plugin::describe(args)
        }
        Command::Schema => command::schema::schema(),
        Command::Demo(args) => demo::demo(args),
        Command::DemoNaive(args) => demo::naive::run(args),
        Command::Version => {
            println!("floe {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}
