//! The `penlog` program; see `pen::cli::penlog`.

fn main() -> std::process::ExitCode {
    pen::cli::penlog::main()
}
