//! The `penlogd` program; see `pen::cli::penlogd`.

fn main() -> std::process::ExitCode {
    pen::cli::penlogd::main()
}
