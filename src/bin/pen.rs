//! The `pen` program; see `pen::cli::pen`.

fn main() -> std::process::ExitCode {
    pen::cli::pen::main()
}
