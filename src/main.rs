//! The `vidicon` binary: arguments, configuration, start and stop. The work is in the crates.

mod args;
mod batching;
mod cmd;
mod config;
mod credentials;
mod demo;
mod running;
mod telemetry;

use clap::Parser;
use std::process::ExitCode;

/// Frames of many sizes come and go for weeks: this allocator keeps less of what is free than the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let result = match args.command {
        args::Command::Serve(options) => cmd::serve::run(options),
        args::Command::Check(options) => cmd::check::run(options),
        args::Command::Export(options) => cmd::export::run(options),
        args::Command::Key(options) => cmd::identities::key(options),
        args::Command::Role(options) => cmd::identities::role(options),
        args::Command::Policy(options) => cmd::identities::policy(options),
        args::Command::Certificate(options) => cmd::identities::certificate(options),
        args::Command::RoleAlias(options) => cmd::identities::role_alias(options),
        args::Command::Hold(options) => cmd::identities::hold(options),
        args::Command::IceTest(options) => cmd::ice_test::run(&options),
        args::Command::Encryption(options) => cmd::encryption::run(options),
        args::Command::Demo(options) => cmd::demo::run(options),
        args::Command::DemoCamera(options) => {
            let options = demo::camera::Options { port: options.port, seed: options.seed };
            demo::camera::run(&options).map_err(running::Failure::other)
        }
        args::Command::DemoScene(args::DemoSceneOptions { out, count, seed, streets, width, height }) => {
            let options = demo::render::Options { out, count, seed, streets, width, height };
            demo::render::run(&options).map_err(running::Failure::other)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("vidicon: {failure}");
            ExitCode::from(failure.code())
        }
    }
}
